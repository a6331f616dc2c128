"""The side port: all endpoints again, answered by a thread that the application cannot hold up."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING

from probekit._core.portal import SIDE
from probekit._lifecycle.aside import Aside
from probekit._lifecycle.main_thread import greenlets
from probekit._lifecycle.pod.master import gunicorn_arbiter, master_pid
from probekit._web.endpoints import Endpoints
from probekit._web.http1 import Connections, bind
from probekit._web.neighbours import strangers
from probekit._web.standing import greenlets_loaded
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.endpoints import EndpointOptions

__all__ = ["Side"]

logger = logging.getLogger("probekit")

REMEDIES = {
    errno.EADDRINUSE: "is taken: something listens there already; choose another {port}, or end "
    "what listens (`ss -ltnp` names it)",
    errno.EACCES: "is not granted: ports below 1024 are privileged; choose {port} above that",
    errno.EADDRNOTAVAIL: "cannot be had: this machine has no such address; let {host} be '0.0.0.0' "
    "or '::' for all that it has",
}


class Listening:
    """A socket that is listened on, from the loop of the side port."""

    def __init__(
        self, sock: socket.socket, connections: Connections, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.socket: socket.socket = sock
        self.loop: asyncio.AbstractEventLoop = loop
        self.port: int = sock.getsockname()[1]
        self.connections: Connections = connections

    def open(self) -> None:
        """Begin; called on that loop."""
        self._opening: asyncio.Task[None] = asyncio.get_running_loop().create_task(
            self.connections.listen(self.socket)
        )

    async def close(self) -> None:
        """Take no more connections, and end those that there are; after `open`, on that loop."""
        await self._opening
        await self.connections.end()


class Side:
    """A side port of a service.

    It listens between `listen` and `close`. A child that is forked meanwhile does not, unless it is
    one of gunicorn's workers, for which the application was loaded before.

    Args:
        service: What to answer for.
        endpoint_options: Of the endpoints.
        host: Where to listen.
        port: Likewise; 0: wherever there is room.
        lends_loop: See `Aside`.
        inherited: Whether a child that is forked, and gets requests, listens as well.
        names: What whoever configures it calls ``host`` and ``port``.

    Raises:
        ConfigurationError: If an option cannot work.
    """

    def __init__(
        self,
        service: Service,
        endpoint_options: EndpointOptions,
        *,
        host: str,
        port: int,
        lends_loop: bool,
        inherited: bool = True,
        names: tuple[str, str] = ("side_host", "side_port"),
    ) -> None:
        self._names = names
        self._host, self._wanted = self._checked(host, port)
        aside = Aside(
            service,
            lends_loop=lends_loop,
            shows_where=endpoint_options.get("details", "full") == "full",
        )
        self._endpoints = Endpoints(service, aside=aside, **endpoint_options)
        self._service = service
        self._lock = threading.Lock()
        self._listening: Listening | None = None
        self._inherited = inherited
        self._waits_for_workers = False
        _all.add(self)

    def _checked(self, host: object, port: object) -> tuple[str, int]:
        named_host, named_port = self._names
        if not (isinstance(host, str) and host):
            raise ConfigurationError(
                f"{named_host} must be an address such as '0.0.0.0', '127.0.0.1' or '::', "
                f"got {host!r}"
            )
        if not (isinstance(port, int) and not isinstance(port, bool) and 0 <= port < 65536):
            raise ConfigurationError(
                f"{named_port} must be a whole number from 0 (any that is free) to 65535, "
                f"got {port!r}"
            )
        return host, port

    @property
    def port(self) -> int:
        """Where it listens, or will."""
        listening = self._listening
        return self._wanted if listening is None else listening.port

    def listen(self) -> None:
        """Listen, if it does not yet; from any thread, and without waiting for another.

        Raises:
            ConfigurationError: If the port is not to be had, or threads are greenlets.
        """
        with self._lock:
            if self._listening is not None:
                return
            self._refuse_greenlets()
            self._listening = self._taken_over()
            if self._listening is not None:
                self.join()
                return
            shared = self._is_shared()
            sock = self._bind(shared=shared)
            connections = Connections(self._endpoints, self._is_draining)
            try:
                listening = Listening(sock, connections, SIDE.revive())
                SIDE.post(listening.open)
            except (OSError, RuntimeError) as error:
                sock.close()
                raise ConfigurationError(
                    f"{self._names[1]} {self._wanted}: the system grants no thread to listen: "
                    f"{error}"
                ) from None
            self._listening = listening
        self.join()
        if shared:
            self._look_around(listening.port)

    def try_to_listen(self) -> None:
        """Do the same where a request must not fail."""
        try:
            self.listen()
        except ConfigurationError as error:
            logger.error("nobody answers on the side port: %s", error)  # noqa: TRY400 - it is said

    def listen_in_workers(self) -> None:
        """Listen in every worker that gunicorn forks from this process."""
        self._waits_for_workers = True

    def close(self) -> None:
        """Listen no more; returns when the connections have ended. Not for an event loop."""
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            SIDE.run(listening.close)

    def join(self) -> None:
        """Let the service know of it, in the place of an earlier one that does not listen."""
        for other in list(_all):
            if other is not self and other._listening is None and self._replaces(other):
                other.withdraw()
        if self not in self._service.listeners:
            self._service.companions.append(self)
            self._service.listeners.append(self)

    def withdraw(self) -> None:
        """Let the service know nothing of it any more."""
        for known in (self._service.companions, self._service.listeners):
            if self in known:
                known.remove(self)

    def keep(self) -> None:
        """See to it that somebody answers; see `Companion`."""
        listening = self._listening
        if listening is not None and listening.loop is not SIDE.revive():
            listening.socket.close()
            self._listening = None
            self.try_to_listen()

    def leave(self) -> None:
        """Stay: the application's end may take its time, and probers ask on."""

    def forked(self) -> None:
        """Have nothing of the parent's in a child; its socket would be listened on by nobody."""
        self._lock = threading.Lock()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.socket.close()
            if not self._inherited:
                self.withdraw()

    def begun_in_worker(self) -> None:
        """Listen in a child, after `forked` of all, if it is one of those waited for.

        A child that a worker forks amid a request has that worker's frames on its stack, too.
        """
        if (
            self._waits_for_workers
            and not greenlets_loaded()
            and gunicorn_arbiter() == os.getppid()
        ):
            self.try_to_listen()

    def _refuse_greenlets(self) -> None:
        # asyncio lets a thread turn one loop at a time: whichever came second would break at once,
        # and if that is the one of the checks, each request waits for it.
        if greenlets():
            raise ConfigurationError(
                f"{self._names[1]} {self._wanted} cannot work under gevent: its greenlets are one "
                f"thread, which turns the event loop of the checks and so no other; leave it out, "
                f"and ask on the port of the application, or call probes.begin() and ask with "
                f"`probekit alive`"
            )

    def _replaces(self, other: Side) -> bool:
        """Whether an application made anew, round the same probes, has brought this one."""
        return (
            self._inherited
            and other._inherited
            and other._service is self._service
            and (other._host, other._wanted) == (self._host, self._wanted)
            and self._wanted != 0
        )

    def _taken_over(self) -> Listening | None:
        """Return what an earlier one of this process listens with; its clients notice nothing.

        Raises:
            ConfigurationError: If it answers for others: the system would let this process have the
                port twice, as if it were two workers.
        """
        # Who listens waits for nobody's lock, so that no two wait for each other's.
        for other in [each for each in list(_all) if each._listening is not None]:
            if (listening := other._handed_to(self)) is not None:
                return listening
        return None

    def _handed_to(self, other: Side) -> Listening | None:
        with self._lock:
            listening = self._listening
            if listening is None or listening.port != other._wanted:
                return None
            if not other._replaces(self):
                raise ConfigurationError(
                    f"{other._names[1]} {other._wanted} on {other._host!r} is taken: this process "
                    f"answers there already, for Probes {self._service.pod.name!r}; give each "
                    f"application a port of its own"
                )
            self._listening = None
        self.withdraw()
        listening.connections.endpoints = other._endpoints
        return listening

    def _is_draining(self) -> bool:
        return self._service.drain.state is not None

    def _look_around(self, port: int) -> None:
        # Not refused: while a server is replaced by its next version both are there for a while.
        master = 1 if self._service.pod.scope == "container" else master_pid()
        if others := strangers(port, master=master):
            logger.warning(
                "%s %d is answered by process %s as well, which is of another server of this user: "
                "each probe meets one of the two, whichever it is; give each server a port of its "
                "own, or end the other (`ps -fp %s` shows it)",
                self._names[1],
                port,
                " and ".join(map(str, others)),
                ",".join(map(str, others)),
            )

    def _bind(self, *, shared: bool) -> socket.socket:
        host, port = self._host, self._wanted
        try:
            return bind(host, port, shared=shared)
        except socket.gaierror as error:
            raise ConfigurationError(
                f"{self._names[0]} {host!r} is no address: {error}; let it be '0.0.0.0' or '::', "
                f"for all addresses of this machine"
            ) from None
        except OSError as error:
            raise self._refusal(error.errno or 0) from None

    def _refusal(self, code: int) -> ConfigurationError:
        host, port = self._names
        text = REMEDIES.get(code, "cannot be had: {reason}")
        text = text.format(host=host, port=port, reason=os.strerror(code))
        return ConfigurationError(f"{port} {self._wanted} on {self._host!r} {text}")

    def _is_shared(self) -> bool:
        """Whether other processes may listen there, too: the workers of the same server.

        A process that stands alone must rather be told that it is not alone.
        """
        workers = master_pid() != os.getpid() or self._service.pod.scope == "container"
        return workers and hasattr(socket, "SO_REUSEPORT")


_all: weakref.WeakSet[Side] = weakref.WeakSet()


def _forked() -> None:
    sides = list(_all)
    for side in sides:
        side.forked()
    for side in sides:
        side.begun_in_worker()


# Registered after what the modules above register, and so called after it: they must be as new.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
