"""Runs checks: one run at a time for each, joined by whoever asks, never waited for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probekit._core.elsewhere import ask_elsewhere
from probekit._core.errands import Errands
from probekit._core.gathering import Gathering
from probekit._core.heartbeat import Heartbeat
from probekit._core.loops import current_loop, find_loop, nothing
from probekit._core.model import Probe
from probekit._core.portal import PORTAL, SIDE
from probekit._core.run import Run
from probekit._core.schedule import Schedule
from probekit._core.state import CheckState
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from probekit._core.check import Check
    from probekit._core.clock import Clock
    from probekit._core.loops import Loop
    from probekit._core.observer import Observers
    from probekit._core.outcome import Outcome

__all__ = ["Engine"]

PATIENCE_WITH_ANOTHER_LOOP = 0.2
"""Seconds beyond the timeouts that a probe waits for checks whose loop is another thread's."""

GRACE_AT_THE_END = 1.0
"""Seconds that a run has for its clean-up when the application stops, which others wait for."""


class Engine:
    """The checks of one `Probes` and everything that runs them.

    It lives on one event loop at a time: the first that asks. When that has ended, the next that
    asks takes over, and what was under way is forgotten (a thread that still runs is not). While it
    turns in another thread, it is asked there. The side port's loop is never the one: asked there
    first, it settles on probekit's own, and on the application's later.

    Attributes:
        states: The checks by probe and name, in the order of registration.
        version: Counts whatever may change an answer.
        heartbeat: How late the loop is, between `start` and `stop`.
        lent: Whether probekit's own loop does the work, until the application starts one.
    """

    def __init__(self, *, clock: Clock, observers: Observers) -> None:
        self.states: dict[Probe, dict[str, CheckState]] = {probe: {} for probe in Probe}
        self.version: int = 0
        self._clock = clock
        self._monotonic = clock.monotonic
        self._observers = observers
        self._loop: Loop | None = None
        self.lent: bool = False
        self._heir: Loop | None = None  # whom that is left to
        self._stopped = False
        self._errands = Errands()
        self._schedule = Schedule(self._background)
        self.heartbeat: Heartbeat = Heartbeat(clock.monotonic)

    def add(self, check: Check) -> None:
        """Register ``check``.

        Raises:
            ConfigurationError: If its probe has a check of that name already.
        """
        states = self.states[check.probe]
        if (other := states.get(check.name)) is not None:
            raise ConfigurationError(
                f"check {check.name!r}: {check.probe.value} has a check of that name already: "
                f"{other.check.where} and now {check.where}; give one of them another name=..."
            )
        states[check.name] = CheckState(check)
        self.version += 1
        if check.interval is not None and (loop := self._loop) is not None:
            loop.call_threadsafe(lambda: self._plan(loop))

    def registered(self, *probes: Probe) -> list[CheckState]:
        """Return the checks of ``probes``, or all; another thread may add some meanwhile."""
        return [state for probe in probes or Probe for state in [*self.states[probe].values()]]

    def start(self) -> None:
        """Begin the background checks on the loop of the caller, if they are not under way."""
        self._stopped = False
        if SIDE.is_current():
            if not self.lives:
                PORTAL.post(self.start)
        elif (loop := self._live_here()) is not None:
            self._plan(loop)
            self.heartbeat.start(loop)
        elif self.lent and (here := find_loop()) is not None:
            self._heir = here
            PORTAL.post(self._give_way)

    @property
    def lives(self) -> bool:
        """Whether it has a loop that turns."""
        loop = self._loop
        return loop is not None and loop.is_running()

    @property
    def stopped(self) -> bool:
        """Whether the application has ended; checks that are asked for run all the same."""
        return self._stopped

    async def stop(self) -> None:
        """End the background checks, and every run under way as far as it can be ended.

        Takes no longer than `GRACE_AT_THE_END`. Checks that are asked for later run on request.
        """
        loop = self._loop
        if loop is None or not loop.is_current():
            self._heir = None
            return  # it is another's, or nobody's any more
        self._stopped = True
        self._schedule.clear()
        self.heartbeat.stop()
        ending: list[Run] = []
        for state in self.registered():
            state.thread.stop()
            if state.run is not None and state.check.is_async:
                ending.append(state.run)
                state.run = None  # what it comes to is no news
        for run in ending:
            run.give_up(GRACE_AT_THE_END)
        deadline = self._monotonic() + GRACE_AT_THE_END + 0.1
        while any(run.outcome is None for run in ending) and self._monotonic() < deadline:
            waiter = loop.waiter()
            loop.call_later(0.005, waiter.set)
            await waiter.wait()
        self._loop = None

    def spawn_threadsafe(
        self,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        timeout: float,
        overdue: Callable[[], None],
    ) -> bool:
        """Run ``main``, which must not raise, on the application's loop; from any thread.

        Args:
            main: What is awaited.
            name: The task's.
            timeout: Seconds after which it is cancelled, once.
            overdue: Is called before.

        Returns:
            False if there is no loop, it has ended, or it is that of a parent that forked.
        """
        loop = self._loop
        return loop is not None and self._errands.spawn(
            loop, main, name=name, timeout=timeout, overdue=overdue
        )

    async def refresh(
        self, states: Iterable[CheckState], *, taken_within: float | None = None, lend: bool = True
    ) -> bool:
        """Bring the results of ``states`` up to date, or find them overdue; then return.

        Cancelling the caller changes nothing for the runs: they are everybody's.

        Args:
            states: What to ask.
            taken_within: Seconds that a loop in another thread has to take the question, even an
                empty one; None: as long as it has to answer it.
            lend: Whether probekit's own loop runs them where the application has none (any more).

        Returns:
            False if that loop has not taken it, since it stands still.
        """
        loop = self._live_here()
        if loop is None:
            states = list(states)
            if not states and taken_within is None:
                return True
            return await self._refresh_elsewhere(states, taken_within, lend=lend)
        runs = self._begin(states, loop)
        if runs:
            waiter = loop.waiter()
            self._gather(runs, loop, waiter.set)
            await waiter.wait()
        return True

    def _live_here(self) -> Loop | None:
        """Settle on the caller's loop; None if the engine lives on another that still turns."""
        loop = self._loop
        if loop is not None and loop.is_current():
            return loop
        if SIDE.is_current() or (loop is not None and loop.is_running()):
            return None
        self._loop = loop = current_loop()
        self.lent = PORTAL.is_current()
        self._schedule.clear()
        beats = self.heartbeat.thread is not None
        self.heartbeat.stop()
        for state in self.registered():
            self._move(state, loop)
        self._plan(loop)
        if beats:
            self.heartbeat.start(loop)
        return loop

    def _give_way(self) -> None:
        """Leave the work to the application's loop, as soon as nobody here waits for any."""
        heir, loop = self._heir, self._loop
        if heir is None or loop is None or not loop.is_current():
            return  # it has happened, or nobody wants it any more
        runs = [state.run for state in self.registered()]
        if any(run is not None and run.gatherings for run in runs):
            loop.call_later(0.01, self._give_way)
            return
        for run in runs:
            if run is not None and run.state.check.is_async:
                run.state.run = None
                run.give_up()
        self._loop = self._heir = None
        heir.call_threadsafe(self.start)

    def _move(self, state: CheckState, loop: Loop) -> None:
        run = state.run
        if run is None:
            return
        alive = run.move(loop)
        if run.outcome is not None:
            self._finished(run)
        elif not alive:
            state.run = None

    def _plan(self, loop: Loop) -> None:
        if not self._stopped:
            for state in self.registered():
                self._schedule.add(state, loop)

    async def _refresh_elsewhere(
        self, states: list[CheckState], taken_within: float | None, *, lend: bool
    ) -> bool:
        def ask(done: Callable[[], None]) -> None:
            # The application may have ended since, and must not be brought back.
            there = self._live_here() if lend or self.lives else None
            runs = [] if there is None else self._begin(states, there)
            if there is None or not runs:
                done()
            else:
                self._gather(runs, there, done)

        limit = max((state.check.timeout for state in states), default=0.0)
        limit = max(limit + PATIENCE_WITH_ANOTHER_LOOP, taken_within or 0.0)
        loop = self._loop if self.lives else None
        if loop is None and not lend:
            return True
        return await ask_elsewhere(
            ask,
            PORTAL.post if loop is None else loop.call_threadsafe,
            answered_within=limit,
            taken_within=taken_within or limit,
        )

    def _gather(self, runs: list[Run], loop: Loop, done: Callable[[], None]) -> None:
        Gathering(
            runs,
            loop=loop,
            clock=self._monotonic,
            stood_still=self.heartbeat.standstill,
            overdue=self._overdue,
            done=done,
        )

    def _background(self, state: CheckState, loop: Loop) -> None:
        runs = self._begin([state], loop, even_if_fresh=True)
        if runs:
            self._gather(runs, loop, nothing)

    def _begin(
        self, states: Iterable[CheckState], loop: Loop, *, even_if_fresh: bool = False
    ) -> list[Run]:
        """Start what must run now and return the runs to wait for, joined ones among them."""
        now = self._monotonic()
        stood_still = self.heartbeat.standstill(now)
        runs: list[Run] = []
        for state in states:
            if state.latched or (not even_if_fresh and state.fresh(now)):
                continue
            run = state.run
            if run is None:
                run = state.run = Run(state, loop, now, stood_still, self._finished)
                run.begin()
                runs.append(run)
            elif not run.overdue:
                if state.result.inconclusive and not run.gatherings:  # its own, and not one before
                    run.reopen(now, stood_still)
                runs.append(run)
            elif state.recount(now):
                self._record(run, state.timed_out(run, now), now)
        return [run for run in runs if run.state.run is run]  # some have ended already

    def _overdue(self, run: Run, lost: float) -> None:
        """Wait no longer for ``run``, which has lost so much time to a loop that stood still.

        Its result will be used when it comes.
        """
        if run.outcome is not None:  # a thread's, of which this loop was not told yet
            self._finished(run)
            return
        now = self._monotonic()
        outcome = run.state.weigh(run.state.timed_out(run, now), lost=lost, now=now)
        if outcome.conclusive:
            run.outlast(now)
        else:
            run.linger(now)
        self._record(run, outcome, now)
        self._release(run)

    def _finished(self, run: Run) -> None:
        state, outcome = run.state, run.outcome
        if state.run is run and outcome is not None:
            state.run = None
            now = self._monotonic()
            if outcome.error is not None and run.failed_by_a_timeout(outcome.error):
                lost = run.lost(self.heartbeat.standstill(now))
                outcome = state.weigh(outcome, lost=lost, now=now)
            self._record(run, outcome, now)
        self._release(run)

    def _release(self, run: Run) -> None:
        gatherings, run.gatherings = run.gatherings, []
        for gathering in gatherings:
            gathering.settle(run)

    def _record(self, run: Run, outcome: Outcome, now: float) -> None:
        state = run.state
        before = state.result
        result = state.record(
            outcome,
            duration=now - run.started,
            now=now,
            wall=self._clock.time(),
            blocked=run.longest,
        )
        self.version += 1
        if result.blocked and not before.blocked:
            state.warn_of_blocking(run.longest)
        self._observers.tell(before, result, outcome.error)
