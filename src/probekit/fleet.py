"""One switch for all replicas of an application, in Redis.

Needs the extra ``redis``. In the application::

    Fleet("redis://redis:6379/0", app="shop", version="1.2.3").join(probes)

and then, from anywhere, ``probekit fleet drain --redis redis://redis:6379/0 --app shop``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from probekit._core.model import Drain
from probekit._core.seconds import refuse_seconds
from probekit._fleet.client import Source
from probekit._fleet.member import Member
from probekit._fleet.overview import FleetStatus, Replica, overview
from probekit._fleet.store import Store
from probekit._fleet.wire import keys_of
from probekit._lifecycle.drain import check_lease, check_text
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from typing import Self

    from redis import Redis

    from probekit.probes import Probes

__all__ = ["Fleet", "FleetStatus", "Replica", "Turned"]


class Turned(NamedTuple):
    """What a turn of the switch did.

    Attributes:
        drain: The drain that it began, renewed or ended; None if there was none to end.
        told: How many pods heard of it at once; others see it within 3 s.
    """

    drain: Drain | None
    told: int


class Fleet:
    """The replicas of an application, and the switch that drains them all.

    An application calls `join`; whoever operates it calls `drain`, `undrain` and `status`, or types
    ``probekit fleet``. Making one connects to nothing.

    Args:
        redis: A URL (``redis://``, ``rediss://`` or ``unix://``), or the application's
            ``redis.Redis``, also one that Sentinel made: its address, credentials and TLS are
            taken, its connections, timeouts and retries are not.
        app: The application's name, which all its replicas share: 1 to 64 letters, digits, dots,
            hyphens and underscores.
        version: What `status` shows of the application in this replica.
        timeout: Seconds that Redis may take for a connection or an answer. With more than the
            default, replicas may need longer than 6 s to see that Redis is back.

    Attributes:
        app: As given.
        address: Where the Redis is, without the password.

    Raises:
        ConfigurationError: If an argument makes no sense.

    Note:
        `drain`, `undrain` and `status` wait for Redis: call them on a thread, not on an event loop.

    Example:
        ``Fleet(client, app="shop", version=__version__).join(probes)``
    """

    def __init__(
        self, redis: str | Redis, /, *, app: str, version: str = "", timeout: float = 1.0
    ) -> None:
        self._keys = keys_of(app)
        check_text("version", version, where="fleet")
        refuse_seconds("fleet", "timeout", timeout)
        self.app: str = app
        self._version = version
        self._source = Source(redis, timeout=timeout)
        self.address: str = self._source.address

    def __repr__(self) -> str:
        """Return it without the password."""
        return f"<Fleet {self.app!r} at {self.address}>"

    def join(self, probes: Probes) -> Self:
        """Let the switch reach ``probes``, and list this pod.

        One worker of each pod watches, on a thread of its own and never on the path of a request;
        two connections. Whatever is wrong with Redis is logged once, and the last word of the
        switch stays true until its lease ends.

        Args:
            probes: As long as its application is in service.

        Returns:
            Itself.

        Raises:
            ConfigurationError: If it has joined a fleet already.
        """
        companions = probes.service.companions
        for companion in companions:
            if isinstance(companion, Member):
                raise ConfigurationError(
                    f"probes {probes.name!r} has joined the fleet {companion.app!r} already; call "
                    f"join() once"
                )
        member = Member(
            app=self.app, version=self._version, connect=self._connect, service=probes.service
        )
        companions.append(member)
        return self

    def drain(self, *, reason: str = "", by: str = "", lease: float | None = None) -> Turned:
        """Turn all replicas unready, or renew the drain with another reason and lease.

        Args:
            reason: Why, published in their answers; at most 200 characters.
            by: Who, likewise.
            lease: Seconds after which the drain ends by itself; None: when `undrain` ends it.

        Returns:
            The drain, with ``since`` of the one that was on already.

        Raises:
            ConfigurationError: If an argument makes no sense.
            FleetError: If Redis does not take it; nothing has changed then, unless Redis did not
                answer in time.
        """
        check_text("reason", reason)
        check_text("by", by)
        check_lease(lease)
        with self._connect() as store:
            now = store.now()
            drain = Drain(since=now, reason=reason, by=by)
            before, told = store.turn(drain, lease)
        since = now if before is None else before.drain.since
        until = None if lease is None else now + lease
        return Turned(drain._replace(since=since, until=until), told)

    def undrain(self) -> Turned:
        """End the drain of the fleet, if there is one.

        Returns:
            What was ended.

        Raises:
            FleetError: If Redis does not take it.
        """
        with self._connect() as store:
            before, told = store.turn(None)
        return Turned(None if before is None else before.drain, told)

    def status(self) -> FleetStatus:
        """Return the switch and every replica that has said something within the last hour.

        Raises:
            FleetError: If Redis does not say.
        """
        with self._connect() as store:
            word = store.switch()
            census = store.census()
        drain = None
        if word is not None:
            until = None if word.left == float("inf") else census.now + word.left
            drain = word.drain._replace(until=until)
        return overview(self.app, census, drain)

    def _connect(self) -> Store:
        return Store(self._source, self._keys)
