"""Serve the probes without a door: from a script, a worker, or beside a door on a side port."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

from anyio import CancelScope, move_on_after

from probekit._core.loops import find_loop, nothing
from probekit._core.options import refuse_unknown
from probekit._core.own_thread import on_own_thread
from probekit._core.portal import PORTAL
from probekit._lifecycle.jobs import ABANDON
from probekit._web.endpoints import EndpointOptions
from probekit._web.side import Side
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from probekit._lifecycle.service import Service

__all__ = [
    "MiddlewareOptions",
    "Serving",
    "SideOptions",
    "begin",
    "close",
    "service_of",
    "split",
    "wrapped",
]

ENDING = 5.0
"""Seconds that everything has to end when a block is left, beside the jobs."""


class SideOptions(TypedDict, total=False):
    """The options of a side port.

    Attributes:
        side_port: Where all endpoints are answered once more, by a thread that a blocked event loop
            does not hold up; 0: wherever there is room. None: no such port.
        side_host: ``"0.0.0.0"``, since orchestrators ask from outside the container.
    """

    side_port: int | None
    side_host: str


class MiddlewareOptions(EndpointOptions, SideOptions, total=False):
    """The options of every `ProbeMiddleware`."""


App = TypeVar("App")


def wrapped(kind: str, app: App) -> App:
    """Return an application that is to be wrapped.

    Raises:
        ConfigurationError: If it is none.
    """
    if not callable(app):
        raise ConfigurationError(
            f"ProbeMiddleware: app must be the {kind} application inside, got {app!r}"
        )
    return app


def service_of(probes: object) -> Service:
    """Return what the doors drive.

    Raises:
        ConfigurationError: If these are no `Probes`.
    """
    from probekit._lifecycle.service import Service

    service = getattr(probes, "service", None)
    if not isinstance(service, Service):
        raise ConfigurationError(
            f"probe endpoints: probes must be a probekit.Probes, got {probes!r}; make one, and "
            f"hand it in: probes = Probes()"
        )
    return service


def split(
    service: Service, options: MiddlewareOptions, *, lends_loop: bool
) -> tuple[EndpointOptions, Side | None]:
    """Return the options of the endpoints, and the side port that is wanted.

    Raises:
        ConfigurationError: If an option cannot work.
    """
    refuse_unknown("probe endpoints", options, MiddlewareOptions.__optional_keys__)
    own = EndpointOptions.__optional_keys__
    rest = {name: value for name, value in options.items() if name in own}
    endpoint_options = cast("EndpointOptions", rest)
    host, port = options.get("side_host", "0.0.0.0"), options.get("side_port")  # noqa: S104 - see SideOptions
    if port is None:
        if "side_host" in options:
            raise ConfigurationError("side_host has no meaning without side_port; give both")
        return endpoint_options, None
    side = Side(service, endpoint_options, host=host, port=port, lends_loop=lends_loop)
    side.join()
    return endpoint_options, side


class Serving:
    """Probes that are served; what `Probes.serve` and `Probes.start` return.

    A context manager, sync and async.

    Args:
        service: What is served.
        endpoint_options: See `EndpointOptions`.
        host: Where to listen.
        port: Likewise.
        block: Whether SIGTERM waits until a block is left.
    """

    def __init__(
        self,
        service: Service,
        endpoint_options: EndpointOptions,
        *,
        host: str,
        port: int,
        block: bool,
    ) -> None:
        refuse_unknown("probe endpoints", endpoint_options, EndpointOptions.__optional_keys__)
        self._service = service
        self._block = block
        self._pid: int | None = None
        self._side = Side(
            service,
            endpoint_options,
            host=host,
            port=port,
            lends_loop=True,
            inherited=False,
            names=("host", "port"),
        )

    @property
    def port(self) -> int:
        """Where the probes are answered."""
        return self._side.port

    def start(self) -> None:
        """Begin; the checks run on the caller's event loop, or on probekit's own if it has none.

        Raises:
            ConfigurationError: If the probes are served already, or the port is not to be had.
        """
        service = self._service
        service.refuse_twice()
        self._side.listen()
        self._pid = os.getpid()
        try:
            service.starting()
            if self._block:
                what = {"method": "serve", "path": f"port {self.port}"}
                service.traffic.blocks[self] = what, service.clock.monotonic()
            settle(service)
            service.started(has_block=self._block)
        except BaseException:
            self.stop()  # or it would hold the port, and nothing behind it
            raise

    def stop(self) -> None:
        """Serve no more, and stop all that runs; do nothing if it is not served.

        On an event loop it returns at once, and that is done soon after; `aclose` waits for it.
        """
        if not self._leave():
            return
        engine, ended, limit = self._service.engine, threading.Event(), self._limit
        at_once = engine.lives and find_loop() is not None

        async def end() -> None:
            try:
                await self._end()
            finally:
                if at_once:
                    self._release()
                ended.set()

        try:
            if not engine.lives or not engine.spawn_threadsafe(
                end, name="probekit:stop", timeout=limit, overdue=nothing
            ):
                PORTAL.run(end)
            elif not at_once:
                ended.wait(limit)
        finally:
            if not at_once:
                self._release()

    async def aclose(self) -> None:
        """Serve no more, and return when all has ended and every job is done or given back.

        What leaving ``async with`` does, for a framework that calls a function at the end: a loop
        that ends soon after may be gone before what `stop` began is done. Nothing happens if it is
        not served.

        Note:
            Call it on the event loop that it was started on, or, if none ran there, on any. It is
            shielded from cancellation, and takes `linger` + 10 seconds at most.
        """
        if self._service.engine.lent:  # the checks live on probekit's own loop, so they end there
            with CancelScope(shield=True):
                await on_own_thread(self.stop)
        else:
            await self.__aexit__(None, None, None)

    @property
    def _limit(self) -> float:
        """Seconds until the jobs are done or given back, and all else has ended."""
        return self._service.sigterm.plan.linger + ABANDON + ENDING

    def _leave(self) -> bool:
        if self._pid != os.getpid():
            return False  # it is not served, or in the parent of this process
        self._pid = None
        return True

    async def _end(self) -> None:
        try:
            await self._service.end()
            self._service.closed("the block has been left" if self._block else "it was stopped")
        finally:  # cancelled, or it would hold the port against the next that serves
            await close(self._side)
            self._side.withdraw()

    def _release(self) -> None:
        # In this order, or the signal would come between: with nothing in flight it ends the
        # process.
        self._service.release()
        self._service.traffic.blocks.pop(self, None)
        self._service.served = False  # a door that goes on begins anew with its next request

    def __enter__(self) -> Self:
        """Begin."""
        if find_loop() is not None:
            raise ConfigurationError(
                "`with probes.serve(...)` would hold up the event loop that runs here when it "
                "ends; write `async with probes.serve(...)`"
            )
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Begin, with the checks on this event loop."""
        self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop, also where the task is cancelled."""
        if self._leave():
            try:
                with move_on_after(self._limit, shield=True):
                    await self._end()
            finally:
                self._release()


def begin(service: Service) -> None:
    """Begin to serve before the first request comes.

    Raises:
        ConfigurationError: If a side port is not to be had.
        RuntimeError: If no thread can be started.
    """
    for listener in service.listeners:
        listener.listen()
    settle(service)
    service.begin()


async def close(side: Side) -> None:
    """Listen no more, also where the task is cancelled."""
    with CancelScope(shield=True):
        await on_own_thread(side.close)


def settle(service: Service) -> None:
    """Let the checks live on probekit's own loop if none runs here."""

    async def start() -> None:
        service.engine.start()

    if find_loop() is None:
        PORTAL.run(start)
