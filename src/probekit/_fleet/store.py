"""What is read from Redis and written to it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import WatchError

from probekit._fleet.failures import ForeignKeyError, explained
from probekit._fleet.wire import MARKER, Pod, Word, dump_switch, parse_pod, parse_switch
from probekit.exceptions import FleetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from probekit._core.model import Drain
    from probekit._fleet.client import Source
    from probekit._fleet.wire import Keys

__all__ = ["KEPT", "Census", "Store", "Subscription"]

KEPT = 3600.0
"""Seconds for which a pod that is gone is still listed."""
ATTEMPTS = 20
"""At the switch, if others turn it at the same time."""


class Census(NamedTuple):
    """What all pods said of themselves.

    Attributes:
        now: The time by the clock of Redis (seconds since the epoch).
        pods: Them.
        unreadable: How many more there are that another version of probekit has written.
    """

    now: float
    pods: list[Pod]
    unreadable: int


class Store:
    """One application's keys in Redis; a context manager that closes its connections.

    Every method raises `FleetError`, and none takes longer than a few timeouts.

    Args:
        source: Where the Redis is.
        keys: Which keys.
    """

    def __init__(self, source: Source, keys: Keys) -> None:
        self.source = source
        self.keys = keys
        self._client = source.connect()

    def __enter__(self) -> Self:
        """Return it; connections are made when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._client.connection_pool.disconnect()

    # -- the switch ---------------------------------------------------------------------------

    def switch(self) -> Word | None:
        """Return the drain of the fleet, or None.

        Raises:
            ForeignKeyError: If something else stands there.
        """
        key = self.keys.switch
        with explained(self.source, key):
            data, left = self._client.pipeline().get(key).pttl(key).execute()
        return None if data is None else Word(parse_switch(data, key), lease_of(left))

    def turn(self, drain: Drain | None, lease: float | None = None) -> tuple[Word | None, int]:
        """Begin the drain of the fleet, renew it with another reason and lease, or end it.

        Returns:
            What stood there before, and how many pods were told at once.

        Raises:
            ForeignKeyError: If something else stands there.
        """
        key = self.keys.switch
        with explained(self.source, key), self._client.pipeline() as pipe:
            for _ in range(ATTEMPTS):
                pipe.watch(key)
                data, left = pipe.get(key), pipe.pttl(key)
                before = None if data is None else Word(parse_switch(data, key), lease_of(left))
                pipe.multi()
                if drain is None:
                    pipe.delete(key)
                else:
                    since = drain.since if before is None else before.drain.since
                    milliseconds = None if lease is None else max(1, round(lease * 1000))
                    pipe.set(key, dump_switch(drain._replace(since=since)), px=milliseconds)
                pipe.publish(self.keys.turned, "end" if drain is None else "begin")
                try:
                    return before, int(pipe.execute()[-1])
                except WatchError:
                    continue  # somebody was faster
        raise FleetError(
            f"others turn the switch {key} again and again; look who they are", answered=True
        )

    def now(self) -> float:
        """Return the time by the clock of Redis, in seconds since the epoch."""
        with explained(self.source, self.keys.switch):
            return seconds_of(self._client.time())

    def subscription(self) -> Subscription:
        """Return what tells of each turn of the switch from now on."""
        with explained(self.source, self.keys.turned):
            return Subscription(self.source, self.keys.turned, self._client.pubsub())

    # -- the pods -----------------------------------------------------------------------------

    def announce(self, pod: Pod) -> None:
        """Write what a pod says of itself; when, and since when it is there, is found out here.

        Raises:
            ForeignKeyError: If the hash is another application's.
        """
        key = self.keys.pods
        with explained(self.source, key):
            pipe = self._client.pipeline(transaction=False)
            moment, marker, data, length = (
                pipe.time().hget(key, MARKER).hget(key, pod.id).hlen(key).execute()
            )
            if marker is None and length:
                raise ForeignKeyError(key, "a hash that probekit has not written")
            now = seconds_of(moment)
            line = pod._replace(since=since_of(pod, data, key, now), at=now)
            pipe.hset(key, mapping={MARKER: "fleet-pods", pod.id: line.json()})
            pipe.expire(key, int(KEPT * 2)).execute()

    def census(self) -> Census:
        """Return what all pods said of themselves within the last hour.

        Raises:
            ForeignKeyError: If the hash is another application's.
        """
        now, found, unreadable = self._pods()
        pods = [pod for pod in found if now - pod.at <= KEPT]
        return Census(now, pods, unreadable)

    def forget(self) -> None:
        """Remove the pods that nobody has heard of for an hour."""
        now, found, _ = self._pods()
        if old := [pod.id for pod in found if now - pod.at > KEPT]:
            with explained(self.source, self.keys.pods):
                self._client.hdel(self.keys.pods, *old)

    def _pods(self) -> tuple[float, list[Pod], int]:
        key = self.keys.pods
        with explained(self.source, key):
            moment, given = self._client.pipeline(transaction=False).time().hgetall(key).execute()
        content: Mapping[bytes, bytes] = given
        if content and MARKER.encode() not in content:
            raise ForeignKeyError(key, "a hash that probekit has not written")
        found: list[Pod] = []
        unreadable = 0
        for name, data in content.items():
            if name != MARKER.encode():
                try:
                    found.append(parse_pod(name, data, key))
                except ForeignKeyError:
                    unreadable += 1
        return seconds_of(moment), found, unreadable


class Subscription:
    """Hears of each turn of the switch, on a connection of its own.

    Args:
        source: Where the Redis is.
        channel: What to listen to.
        pubsub: The client's.

    Raises:
        FleetError: If that is not confirmed in time.
    """

    def __init__(self, source: Source, channel: str, pubsub: Any) -> None:
        self._source = source
        self._channel = channel
        self._pubsub = pubsub
        self._asked = False
        pubsub.subscribe(channel)
        deadline = time.monotonic() + source.timeout
        while True:
            message = pubsub.get_message(timeout=source.timeout)
            if message is not None and message["type"] == "subscribe":
                return
            if time.monotonic() >= deadline:
                raise FleetError(
                    f"the Redis at {source.address} does not answer in time", answered=False
                )

    def wait(self, seconds: float) -> bool:
        """Return whether the switch was turned, after so many seconds at most."""
        with explained(self._source, self._channel):
            message = self._pubsub.get_message(timeout=seconds)
        if message is None:
            return False
        self._asked = False
        return bool(message["type"] == "message")

    def check(self) -> None:
        """Make sure that the connection lives; to be called every so often.

        Raises:
            FleetError: If nothing has been heard since the last call.
        """
        if self._asked:
            raise FleetError(
                f"the Redis at {self._source.address} does not answer in time", answered=False
            )
        with explained(self._source, self._channel):
            self._pubsub.ping()
        self._asked = True


def lease_of(milliseconds: int) -> float:
    """Return the seconds that PTTL means."""
    return math.inf if milliseconds < 0 else milliseconds / 1000


def seconds_of(moment: tuple[int, int]) -> float:
    """Return what TIME means, in seconds since the epoch."""
    return moment[0] + moment[1] / 1e6


def since_of(pod: Pod, data: bytes | None, key: str, now: float) -> float:
    """Return since when a pod is there: its line says so, unless it left meanwhile."""
    if data is not None:
        try:
            before = parse_pod(pod.id.encode(), data, key)
        except ForeignKeyError:
            return now
        if pod.left or not before.left:
            return before.since
    return now
