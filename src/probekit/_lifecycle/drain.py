"""The switch that takes a process out of service, and back."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from probekit._core.model import Drain
from probekit._core.seconds import is_seconds
from probekit.exceptions import ConfigurationError, DrainIsFinalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.clock import Clock

__all__ = ["DrainSwitch"]

TEXT_LIMIT = 200
"""Characters of a reason or a name."""


class DrainSwitch:
    """Draining or not, why, by whom, until when.

    Readable from any thread. A lease that is over is ended by whoever reads next.

    Args:
        clock: The clocks.
        changed: Told of every change, from the thread that made or noticed it.
    """

    __slots__ = ("_changed", "_clock", "_final", "_leased", "_lock")

    def __init__(self, *, clock: Clock, changed: Callable[[Drain | None], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._lock = threading.RLock()  # a signal handler of the application's may come in between
        # One attribute for the drain and its deadline, so that no reader sees half of a change; and
        # one of its own for what SIGTERM began, so that no other change can lose it.
        self._leased: tuple[Drain, float] | None = None
        self._final: Drain | None = None

    @property
    def state(self) -> Drain | None:
        """The drain under way, or None."""
        if self._final is not None:
            return self._final
        leased = self._leased
        if leased is None:
            return None
        drain, deadline = leased
        if self._clock.monotonic() < deadline:
            return drain
        with self._lock:
            noticed = self._leased is leased
            if noticed:
                self._leased = None
        if noticed:
            self._changed(None)
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
            self._leased = drain, deadline
        self._changed(drain)
        return drain

    def finish(self, *, reason: str) -> None:
        """Begin a drain that nothing ends.

        A signal handler calls this: it takes no lock and tells nobody.
        """
        leased = self._leased
        since = self._clock.time() if leased is None else leased[0].since
        self._final = Drain(reason=reason, since=since, final=True)

    def end(self) -> None:
        """End the drain, if there is one.

        Raises:
            DrainIsFinalError: If SIGTERM began it.
        """
        before = self.state
        if before is None:
            return
        if before.final:
            raise DrainIsFinalError(
                f"the drain cannot be ended: {before.reason} began it, and the process is leaving"
            )
        with self._lock:
            self._leased = None
        self._changed(None)


def check_text(name: str, value: object) -> None:
    """Refuse what is no short text."""
    if not isinstance(value, str):
        raise ConfigurationError(f"drain: {name} must be a string, got {value!r}")
    if len(value) > TEXT_LIMIT or not value.isprintable():
        raise ConfigurationError(
            f"drain: {name} must be one line of at most {TEXT_LIMIT} printable characters, got "
            f"{len(value)}: {value[:TEXT_LIMIT]!r}"
        )


def check_lease(lease: object) -> None:
    """Refuse what is no number of seconds."""
    if lease is not None and not is_seconds(lease):
        raise ConfigurationError(
            f"drain: lease must be > 0 seconds, or left out to drain until somebody ends it; "
            f"got {lease!r}"
        )
