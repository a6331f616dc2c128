"""How late the event loop is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.loops import Loop

__all__ = ["Heartbeat"]

PERIOD = 0.5
"""Seconds between two beats: often enough to meet a stall, too seldom to cost anything."""


class Heartbeat:
    """A timer on the loop that notes how late it was called."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: float | None = None
        self._late = 0.0
        self._unarm: Callable[[], object] | None = None

    @property
    def lag(self) -> float:
        """Seconds by which the last beat was late, or by which the next one already is.

        0.0 while it does not beat. Readable from any thread: a loop that stands still shows.
        """
        due = self._due
        if due is None:
            return 0.0
        return max(self._late, self._clock() - due)

    def start(self, loop: Loop) -> None:
        """Beat on ``loop`` until `stop`."""
        self.stop()
        self._arm(loop)

    def stop(self) -> None:
        """Beat no more."""
        if self._unarm is not None:
            self._unarm()
        self._unarm = self._due = None
        self._late = 0.0

    def _arm(self, loop: Loop) -> None:
        def beat() -> None:
            self._late = max(0.0, self._clock() - due)
            self._arm(loop)

        self._due = due = self._clock() + PERIOD
        self._unarm = loop.call_later(PERIOD, beat)
