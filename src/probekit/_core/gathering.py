"""Wait for several runs at once, each no longer than its timeout, with one timer for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.loops import Loop
    from probekit._core.run import Run

__all__ = ["Gathering"]

LATE = 0.1
"""Seconds by which a timer must be late to prove that something held the loop."""


class Gathering:
    """One probe's wait for its runs; it is over when each has ended or outlasted its timeout.

    It never waits for a run to agree to anything, and a run never notices that a gathering ends.
    """

    __slots__ = ("_clock", "_done", "_forgiving", "_loop", "_overdue", "_pending", "_unarm")

    def __init__(
        self,
        runs: list[Run],
        *,
        loop: Loop,
        clock: Callable[[], float],
        overdue: Callable[[Run], None],
        done: Callable[[], None],
    ) -> None:
        self._pending = set(runs)
        self._loop = loop
        self._clock = clock
        self._overdue = overdue
        self._done = done
        self._forgiving = True
        for run in runs:
            run.gatherings.append(self)
        self._unarm = self._arm()

    def settle(self, run: Run) -> None:
        """Wait for ``run`` no longer: it has ended, or outlasted its timeout."""
        self._pending.discard(run)
        if not self._pending:
            self._unarm()
            self._done()

    def _deadline(self) -> float:
        return min(run.started + run.state.check.timeout for run in self._pending)

    def _arm(self, at_least: float = 0.0) -> Callable[[], object]:
        delay = max(self._deadline() - self._clock(), at_least)
        return self._loop.call_later(delay, self._time_is_up)

    def _time_is_up(self) -> None:
        now = self._clock()
        late = now - self._deadline()
        if late > LATE and self._forgiving:
            # Something held the loop, and the answers that came meanwhile were not read: a blocked
            # loop is no dead dependency. Once, or a loop that always lags would hide a dead one.
            self._forgiving = False
            self._unarm = self._arm(at_least=LATE)
            return
        for run in list(self._pending):
            if run.started + run.state.check.timeout <= now:
                self._overdue(run)
        if self._pending:
            self._unarm = self._arm(at_least=0.001)
