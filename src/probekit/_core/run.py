"""One execution of one check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from probekit._core.model import Status
from probekit._core.outcome import Outcome, failed, is_timeout, returned
from probekit._core.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from threading import Thread

    from probekit._core.gathering import Gathering
    from probekit._core.loops import Loop, Task
    from probekit._core.state import CheckState

__all__ = ["Run"]

GRACE = 3.0
"""Seconds that a cancelled check has for its clean-up before it is driven no further.

asyncpg takes two to find out that a server which hangs does not let itself be cancelled either.
"""
AT_ONCE = 0.1
"""Seconds that it takes at most to find out that it will be driven no further."""


class Run(Steps):
    """One execution of one check: joined by every probe that comes while it goes on.

    Attributes:
        state: The check that runs.
        loop: Where it runs, or where its end is told.
        started: When it started (monotonic seconds).
        opened: When the time began in which it is waited for: when it started, or when somebody
            asked again after it was excused.
        overdue: Whether it outlasted its timeout: nobody waits for it any more, but its result
            will be used.
        given_up: Whether it outlasted ``cancel_after`` and was cancelled.
        outcome: What it came to, once it has ended.
        gatherings: Who waits for it.
    """

    __slots__ = (
        "_finished",
        "_stood_still",
        "_task",
        "_thread",
        "_unarm",
        "_watched",
        "gatherings",
        "given_up",
        "loop",
        "opened",
        "outcome",
        "overdue",
        "started",
        "state",
    )

    def __init__(
        self,
        state: CheckState,
        loop: Loop,
        started: float,
        stood_still: float,
        finished: Callable[[Run], None],
    ) -> None:
        super().__init__(loop.cancelled)
        self.state = state
        self.loop = loop
        self.started = self.opened = started
        self._stood_still = stood_still
        self.overdue = False
        self.given_up = False
        self.outcome: Outcome | None = None
        self.gatherings: list[Gathering] = []
        self._finished = finished
        self._task: Task | None = None
        self._thread: Thread | None = None
        self._unarm: Callable[[], object] | None = None
        self._watched = False

    def begin(self) -> None:
        """Start it: on the loop if the check is async, on the check's own thread if it is not."""
        state = self.state
        if state.check.is_async:
            context = state.context.copy()
            self._task = self.loop.spawn(self._on_loop, name=state.label, context=context)
            return
        try:
            self._thread = state.thread.submit(self._on_thread)
        except RuntimeError as error:  # the next run may get one
            message = "no thread could be started"
            self.outcome = Outcome(Status.UNHEALTHY, message, error=error, could_run=False)
            self._finished(self)

    def move(self, loop: Loop) -> bool:
        """Tell ``loop`` of its end, now that the loop it began on has ended; False if it is lost.

        A task dies with its loop, and a thread does not survive a fork.
        """
        self.gatherings.clear()
        self.loop = loop
        return self._thread is not None and self._thread.is_alive()

    def lost(self, stood_still: float) -> float:
        """Return the seconds in which the loop stood still, and not through this check's doing.

        Args:
            stood_still: Seconds for which it has stood still by now, as the heartbeat has it.
        """
        late = max([each.late for each in self.gatherings], default=0.0)
        return max(0.0, max(late, stood_still - self._stood_still) - self.held)

    def failed_by_a_timeout(self, error: BaseException) -> bool:
        """Whether a timer of its own on the loop rang; those of a thread ring when they should."""
        failed = cast("Outcome", self.outcome).status is Status.UNHEALTHY
        return failed and self.state.check.is_async and not self.overdue and is_timeout(error)

    def reopen(self, now: float, stood_still: float) -> None:
        """Be waited for once more, as long as for a run that starts now."""
        self.opened = now
        self._stood_still = stood_still
        self.held = 0.0

    def outlast(self, now: float) -> None:
        """Note that nobody waits for it any more, and plan to give it up."""
        self.overdue = True
        self._plan_end(now, at_least=0.0)

    def linger(self, now: float) -> None:
        """Plan to give it up, too; until then somebody may ask again.

        What the loop lost it of ``cancel_after`` must not be its end: it has one more timeout.
        """
        self._plan_end(now, at_least=self.state.check.timeout)

    def _plan_end(self, now: float, *, at_least: float) -> None:
        if self._task is not None and self._unarm is None:
            remaining = self.state.check.cancel_after - (now - self.started)
            self._arm(max(at_least, remaining), self.give_up)

    def _arm(self, delay: float, end: Callable[[], None]) -> None:
        """Plan its end; what was planned before would come to it once more."""
        if self._unarm is not None:
            self._unarm()
        self._unarm = self.loop.call_later(delay, end)

    def give_up(self, grace: float = GRACE) -> None:
        """Cancel it, and see to it that it ends; for async checks, since no thread can be."""
        self.given_up = True
        cast("Task", self._task).cancel()
        self._arm(grace, self._abandon)

    def was_cancelled(self) -> None:
        """See to it that it ends, too, when the loop is torn down around it."""
        if not self.given_up and not self._watched:
            self._watched = True
            self.loop.call_later(GRACE, self._abandon_if_cancelled)

    def _abandon_if_cancelled(self) -> None:
        self._watched = False
        # A timeout of the check's own cancels the task as well, and takes that back.
        if self.outcome is None and cast("Task", self._task).cancelling():
            self._abandon()

    def _abandon(self) -> None:
        self.patience = 0
        cast("Task", self._task).cancel()
        self._arm(AT_ONCE, self._disown)

    def _disown(self) -> None:
        """Take it for ended: behind a shield, trio lets nobody reach it."""
        self._end(Outcome(Status.UNHEALTHY, "never ended", could_run=False))

    async def _on_loop(self) -> None:
        function = cast("Callable[[], Coroutine[Any, Any, Any]]", self.state.check.function)
        try:
            outcome = returned(await self.drive(function()))
        except BaseException as error:  # a check may raise anything, and harm nobody
            outcome = failed(error)
        if self.outcome is None:
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        if self.given_up:
            after = self.state.check.cancel_after
            outcome = Outcome(Status.UNHEALTHY, f"given up after {after:g} s", could_run=False)
        self.outcome = outcome
        if self._unarm is not None:
            self._unarm()
        self._finished(self)

    def _on_thread(self) -> None:
        try:
            outcome = returned(self.state.context.copy().run(self.state.check.function))
        except BaseException as error:
            outcome = failed(error)
        self.outcome = outcome
        # If the loop has ended meanwhile, the next one finds the outcome here.
        self.loop.call_threadsafe(self._tell)

    def _tell(self) -> None:
        self._finished(self)
