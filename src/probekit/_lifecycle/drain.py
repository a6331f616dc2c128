"""The switch that takes a process out of service, and back."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from probekit._core.model import Drain
from probekit._core.seconds import is_seconds
from probekit.exceptions import ConfigurationError, DrainIsFinalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.clock import Clock

__all__ = ["DrainSwitch"]

logger = logging.getLogger("probekit")

TEXT_LIMIT = 200
"""Characters of a reason or a name."""


class DrainSwitch:
    """Draining or not, why, by whom, until when.

    Readable from any thread and from a signal handler: the state is one attribute that is only
    ever replaced, and a lease is looked at by whoever reads.

    Args:
        clock: The clocks.
        changed: Told of every change, from the thread that made it.
    """

    __slots__ = ("_changed", "_clock", "_deadline", "_drain")

    def __init__(self, *, clock: Clock, changed: Callable[[Drain | None], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._drain: Drain | None = None
        self._deadline = math.inf

    @property
    def state(self) -> Drain | None:
        """The drain under way, or None. A lease that is over ends here."""
        drain = self._drain
        if drain is not None and self._clock.monotonic() >= self._deadline:
            self._drain = drain = None
            self._deadline = math.inf
            self._changed(None)
        return drain

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
        self._deadline = math.inf if lease is None else self._clock.monotonic() + lease
        self._drain = drain = Drain(
            reason=reason,
            by=by,
            since=now if before is None else before.since,
            until=None if lease is None else now + lease,
        )
        self._changed(drain)
        return drain

    def finish(self, *, reason: str) -> Drain:
        """Begin a drain that nothing ends, without telling anybody: a signal handler calls this."""
        before = self._drain
        since = self._clock.time() if before is None else before.since
        self._deadline = math.inf
        self._drain = drain = Drain(reason=reason, since=since, final=True)
        return drain

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
                f"the drain cannot be ended: {before.reason}, and the process is leaving"
            )
        self._drain = None
        self._deadline = math.inf
        self._changed(None)


def check_text(name: str, value: object) -> None:
    """Refuse what is no short text."""
    if not isinstance(value, str):
        raise ConfigurationError(f"drain: {name} must be a string, got {value!r}")
    if len(value) > TEXT_LIMIT:
        raise ConfigurationError(
            f"drain: {name} must have at most {TEXT_LIMIT} characters, got {len(value)}"
        )


def check_lease(lease: object) -> None:
    """Refuse what is no number of seconds."""
    if lease is not None and not is_seconds(lease):
        raise ConfigurationError(
            f"drain: lease must be > 0 seconds, or left out to drain until somebody ends it; "
            f"got {lease!r}"
        )
