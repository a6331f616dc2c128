"""Wait for several runs at once, each no longer than its timeout, with one timer for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.loops import Loop
    from probekit._core.run import Run

__all__ = ["Gathering"]

LATE = 0.1
"""Seconds by which a timer must be late to prove that something held the loop, and for which it is
waited for the answers that came meanwhile to be read."""


class Gathering:
    """One probe's wait for its runs; it is over when each has ended or outlasted its timeout.

    It never waits for a run to agree to anything, and a run never notices that a gathering ends.
    What the loop stood still is added to a run's timeout, up to as much again.

    Attributes:
        late: Seconds by which its own timer was late, all times together. Where no heartbeat tells
            how long the loop stood still, this does.
    """

    __slots__ = (
        "_clock",
        "_done",
        "_due",
        "_forgiving",
        "_loop",
        "_overdue",
        "_pending",
        "_stood_still",
        "_unarm",
        "late",
    )

    def __init__(
        self,
        runs: list[Run],
        *,
        loop: Loop,
        clock: Callable[[], float],
        stood_still: Callable[[float], float],
        overdue: Callable[[Run, float], None],
        done: Callable[[], None],
    ) -> None:
        self._pending = set(runs)
        self._loop = loop
        self._clock = clock
        self._stood_still = stood_still
        self._overdue = overdue
        self._done = done
        self._forgiving = True
        self.late = 0.0
        for run in runs:
            run.gatherings.append(self)
        self._unarm = self._arm(min([run.opened + run.state.check.timeout for run in runs]))

    def settle(self, run: Run) -> None:
        """Wait for ``run`` no longer: it has ended, or outlasted its timeout."""
        self._pending.discard(run)
        if not self._pending:
            self._unarm()
            self._done()

    def _arm(self, due: float) -> Callable[[], object]:
        self._due = due
        return self._loop.call_later(max(due - self._clock(), 0.0), self._time_is_up)

    def _time_is_up(self) -> None:
        now = self._clock()
        late = now - self._due
        if late > LATE:
            self.late += late
            if self._forgiving:
                # The answers that came meanwhile were not read: a blocked loop is no dead
                # dependency. Once, or a loop that always lags would keep the answer for ever.
                self._forgiving = False
                self._unarm = self._arm(now + LATE)
                return
        stood_still = self._stood_still(now)
        later: list[float] = []
        for run in list(self._pending):
            timeout, lost = run.state.check.timeout, run.lost(stood_still)
            until = run.opened + timeout + min(lost, timeout)
            if until <= now:
                self._overdue(run, lost)
            else:
                later.append(until)
        if self._pending:
            self._unarm = self._arm(max(min(later), now + 0.001))
