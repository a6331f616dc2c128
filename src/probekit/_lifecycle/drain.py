"""The switch that takes a process out of service, and back."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._core.model import Drain
from probekit._core.seconds import refuse_seconds
from probekit._core.text import TEXT_LIMIT, is_text
from probekit._lifecycle.pod.records import Shared
from probekit.exceptions import ConfigurationError, DrainIsFinalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.clock import Clock
    from probekit._lifecycle.pod.pod import Pod

__all__ = ["DrainSwitch", "check_lease", "check_text"]

LOOKED_EVERY = 0.005
"""Seconds: a look costs a quarter of a probe, and a flood of them need not pay it each time."""


class DrainSwitch:
    """Draining or not, why, by whom, until when.

    Readable from any thread. A lease that is over is ended by whoever reads next.

    Args:
        clock: The clocks.
        changed: Told of every change, from the thread that made or noticed it.
        pod: What the workers of the server share.
    """

    __slots__ = (
        "__weakref__",
        "_changed",
        "_clock",
        "_final",
        "_fleet",
        "_leased",
        "_lock",
        "_looked",
        "_pod",
        "_unheard",
    )

    def __init__(self, *, clock: Clock, changed: Callable[[], None], pod: Pod) -> None:
        self._clock = clock
        self._changed = changed
        self._pod = pod
        self.renew()
        renew_when_forked(self)
        # One attribute for the drain and its deadline, so that no reader sees half of a change; and
        # one of its own for what SIGTERM began, so that no other change can lose it.
        self._leased: Shared | None = None
        self._fleet: Shared | None = None
        self._looked = -math.inf
        self._final: Drain | None = None
        self._unheard = False

    def renew(self) -> None:
        """Have a lock that nobody holds; the next look tells of the drain that was inherited."""
        self._lock = threading.RLock()  # a signal handler of the application's may come in between
        self._unheard = True

    @property
    def state(self) -> Drain | None:
        """The drain under way, or None: SIGTERM's, else the pod's, else the fleet's."""
        if self._final is not None:
            return self._final
        if self._leased is None and self._fleet is None:
            return None
        now = self._clock.monotonic()
        for shared in (self._leased, self._fleet):
            if shared is not None and now < shared.deadline:
                return shared.drain
        return self._over(now)

    @property
    def fleet(self) -> Drain | None:
        """The drain of the whole fleet, if one is on, whatever else is."""
        shared = self._fleet
        over = shared is None or self._clock.monotonic() >= shared.deadline
        return None if shared is None or over else shared.drain

    def _over(self, now: float) -> Drain | None:
        with self._lock:
            noticed = False
            if self._leased is not None and now >= self._leased.deadline:
                self._leased, noticed = None, True
            if self._fleet is not None and now >= self._fleet.deadline:
                self._fleet, noticed = None, True
        if noticed:
            self._changed()
        return self.state

    def begin(self, *, reason: str = "", by: str = "", lease: float | None = None) -> Drain:
        """Begin a drain, or renew the one under way with another reason and lease.

        Args:
            reason: Why, for whoever reads the answer; at most 200 characters.
            by: Who, likewise.
            lease: Seconds after which it ends by itself, or None for never.

        Raises:
            ConfigurationError: If an argument makes no sense.
        """
        check_text("reason", reason)
        check_text("by", by)
        check_lease(lease)
        self.look(every=0.0)
        before = self.state
        if before is not None and before.final:
            return before
        now = self._clock.time()
        drain = Drain(
            reason=reason,
            by=by,
            since=now if before is None else before.since,
            until=None if lease is None else now + lease,
        )
        deadline = math.inf if lease is None else self._clock.monotonic() + lease
        with self._lock:
            self._leased = shared = Shared(drain, deadline)
            self._pod.write("drain", shared)
        self._changed()
        return drain

    def finish(self, *, reason: str) -> None:
        """Begin a drain of this process that nothing ends.

        A signal handler calls this: it takes no lock and tells nobody.
        """
        leased = self._leased
        since = self._clock.time() if leased is None else leased.drain.since
        self._final = Drain(reason=reason, since=since, final=True)

    def end(self) -> None:
        """End the drain, if there is one.

        Raises:
            DrainIsFinalError: If SIGTERM began it, or the fleet's switch did.
        """
        self.look(every=0.0)
        before = self.state
        if before is None:
            self._pod.overrule("drain")  # another worker may drain that could not tell
            return
        if before.final:
            raise DrainIsFinalError(
                f"the drain cannot be ended: {before.reason} began it, and the process is leaving"
            )
        with self._lock:
            self._leased = None
            self._pod.write("drain", None)
        if self.state != before:
            self._changed()
        if (fleet := self.fleet) is not None:
            raise DrainIsFinalError(
                f"the drain cannot be ended here: {fleet.by or 'somebody'} drained the whole "
                f"fleet; end it with `probekit fleet undrain`"
            )

    def hear(self, fleet: Shared | None) -> None:
        """Take the word of the fleet's switch, for all workers of the pod."""
        before = self.state
        with self._lock:
            self._fleet = fleet
            self._pod.write("fleet", fleet)
        if self.state != before:
            self._changed()

    def look(self, *, every: float = LOOKED_EVERY) -> None:
        """See whether another worker has turned the switch, or the fleet's has been turned.

        Args:
            every: Seconds within which one look is enough.
        """
        now = self._clock.monotonic()
        with self._lock:  # who comes while another looks wants to know what that one sees
            if now - self._looked < every:
                return
            self._looked, before = now, None if self._unheard else self.state
            self._unheard = False
            if self._pod.changed("drain"):
                self._leased = self._pod.read("drain", self._leased)
            if self._pod.changed("fleet"):
                self._fleet = self._pod.read("fleet", self._fleet)
        if self.state != before:
            self._changed()


def check_text(
    name: str,
    value: object,
    *,
    where: str = "drain",
    shown: Callable[[object], str] = repr,
) -> None:
    """Refuse what is no short text.

    Args:
        name: What it is.
        value: It.
        where: Whose it is.
        shown: Writes a value as whoever gave it would.

    Raises:
        ConfigurationError: If it is none.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {name} must be a string, got {shown(value)}")
    if not is_text(value):
        if len(value) > TEXT_LIMIT:
            got = f"{len(value)} characters: {shown(value[:TEXT_LIMIT])}"
        else:
            odd = next(each for each in value if not each.isprintable())
            got = f"{shown(odd)} in {shown(value)}"
        raise ConfigurationError(
            f"{where}: {name} must be one line of at most {TEXT_LIMIT} printable characters, got "
            f"{got}"
        )


def check_lease(lease: object, *, shown: Callable[[object], str] = repr) -> None:
    """Refuse what is no number of seconds.

    Args:
        lease: It, or None for a drain without end.
        shown: Writes a value as whoever gave it would.

    Raises:
        ConfigurationError: If it is none.
    """
    if lease is not None:
        remedy = "leave it out to drain until somebody ends it"
        refuse_seconds("drain", "lease", lease, remedy=remedy, shown=shown)
