"""How late the event loop is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.loops import Loop

__all__ = ["Heartbeat"]

PERIOD = 0.1
"""Seconds between two beats: often enough to meet a stall, too seldom to cost anything."""

SHOWN_FOR = 5
"""Beats for which a late one is still shown, for whoever looks seldom."""

LATE = 0.05
"""Seconds by which a beat must be late to count as a standstill and not as a busy moment."""


class Heartbeat:
    """A timer on the loop that notes how late it was called.

    Attributes:
        beats: How many there have been, over all loops.
        stood_still: Seconds for which the loop stood still, all standstills together.
        thread: The identifier of the thread that the loop turns in, as `threading.get_ident` has
            it; None while it does not beat.
        native: The same thread, as the operating system calls it.
        loop: What turns in it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: float | None = None
        self._late = 0.0
        self._late_at = 0
        self._unarm: Callable[[], object] | None = None
        self.beats: int = 0
        self.stood_still: float = 0.0
        self.thread: int | None = None
        self.native: int | None = None
        self.loop: Loop | None = None

    @property
    def lag(self) -> float:
        """Seconds by which one of the last beats was late, or by which the next one already is.

        0.0 while it does not beat. Readable from any thread: a loop that stands still shows.
        """
        due = self._due
        if due is None:
            return 0.0
        return max(self._late, self._clock() - due)

    def standstill(self, now: float) -> float:
        """Return `stood_still` as it is at ``now``: with the beat that is late already."""
        due = self._due
        if due is None or now - due <= LATE:
            return self.stood_still
        return self.stood_still + now - due

    def start(self, loop: Loop) -> None:
        """Beat on ``loop``, which is the caller's, until `stop`."""
        self.stop()
        self.thread, self.native = threading.get_ident(), threading.get_native_id()
        self.loop = loop
        self._arm(loop)

    def stop(self) -> None:
        """Beat no more."""
        if self._unarm is not None:
            self._unarm()
        self._unarm = self._due = self.thread = self.native = self.loop = None
        self._late = 0.0

    def _arm(self, loop: Loop) -> None:
        def beat() -> None:
            late = max(0.0, self._clock() - due)
            if late > LATE:
                self.stood_still += late
            self.beats += 1
            if late >= self._late or self.beats - self._late_at >= SHOWN_FOR:
                self._late, self._late_at = late, self.beats
            self._arm(loop)

        self._due = due = self._clock() + PERIOD
        self._unarm = loop.call_later(PERIOD, beat)
