"""What becomes of jobs that are unfinished when the process leaves: each is given back, once."""

from __future__ import annotations

import inspect
import logging
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from probekit._core.forked import renew_when_forked
from probekit._core.functions import location
from probekit._core.loops import is_cancelled, nothing
from probekit._lifecycle.traffic import describe
from probekit._lifecycle.work import is_work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from probekit._core.engine import Engine
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.traffic import Traffic
    from probekit._lifecycle.work import Work

__all__ = ["ABANDON", "ROUNDS", "Jobs"]

logger = logging.getLogger("probekit")

ABANDON = 5.0
"""Seconds that all calls of ``on_abandon`` have together."""
HELD = 1.0
"""Seconds more after which a loop that has not come back to them is held up, and not only busy."""
LOOKED_EVERY = 0.02
"""Seconds between two looks whether they have come back, or the jobs are done."""
ROUNDS = 2
"""How often what is unfinished is abandoned: once more for what was begun meanwhile. A worker that
goes on for ever would always have begun something."""
SIDE_BY_SIDE = 64
"""How many of them run at once; one that hangs costs a thread."""
AHEAD = 0.2
"""Seconds by which an application that ends stops waiting before the signal would end it."""
NEVER_RAN = "a generator function, of which nothing has run; return instead of yield"
"""What is said of an ``on_abandon`` that yields."""


class Leaving(Protocol):
    """What SIGTERM means to the application."""

    plan: Plan


class Jobs:
    """Gives back the jobs of one application that nobody waits for any more.

    Args:
        traffic: Where they are in flight.
        engine: Knows the application's loop.

    Attributes:
        traffic: As given.
        on_abandon: What takes a job that brought nothing of its own.
        declared: Whether there is a function each of whose calls is a job.
        deadline: Until when what is in flight may go on, once the signal has been handed over
            (seconds of the traffic's clock).
        attended: Whether the application has an end that waits for them: a lifespan.
        ending: Whether it is under way.
    """

    def __init__(self, *, traffic: Traffic, engine: Engine) -> None:
        self.traffic: Traffic = traffic
        self.on_abandon: Callable[[Any], object] | None = None
        self.declared: bool = False
        self._engine = engine
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Be as new in a child: the jobs are the parent's."""
        self._lock = threading.Lock()
        self.traffic.jobs.clear()
        self._under_way: dict[Work[Any], str] = {}
        self.deadline: float | None = None
        self.attended: bool = False
        self.ending: bool = False

    @property
    def expected(self) -> bool:
        """Whether the application has said that there will be any."""
        return self.declared or self.on_abandon is not None

    async def finish(self, leaving: Leaving, *, draining: bool) -> None:
        """Wait, when the application ends, until the jobs are done or may go on no longer.

        Args:
            leaving: Has the plan.
            draining: Whether the workers know that they must begin no more. If they do not, only
                those are waited for that are in flight now.
        """
        jobs, linger = self.traffic.jobs, leaving.plan.linger
        left = linger
        if self.deadline is not None:
            left = self.deadline - self.traffic.clock() - AHEAD
        if not jobs or left <= 0:
            return
        named = str(self.traffic)  # now, and not when a handler comes round to it
        logger.warning("the application ends within %.1f s, after %s", left, named)
        begun = set(jobs)
        with anyio.move_on_after(left):
            while not begun.isdisjoint(jobs.copy()) or (draining and jobs):  # noqa: ASYNC110 - they end in any thread
                await anyio.sleep(LOOKED_EVERY)

    async def give_back(self, *, draining: bool) -> None:
        """Abandon what is unfinished and wait until it is given back, within `ABANDON` seconds.

        Args:
            draining: See `finish`.
        """
        self.deadline = None
        self.attended = False
        watch = threading.Timer(ABANDON + HELD, self.name_held)
        watch.daemon = True
        if self.traffic.jobs:
            with suppress(RuntimeError):  # there is no thread to be had
                watch.start()
        try:
            with anyio.move_on_after(ABANDON, shield=True):
                for _ in range(ROUNDS if draining else 1):
                    self.abandon()
                    while not self.given_back():  # noqa: ASYNC110 - in other threads
                        await anyio.sleep(LOOKED_EVERY)
        finally:
            watch.cancel()
        self.give_up()

    def abandon(self) -> None:
        """Wait no longer for what is unfinished: begin to give it back, and return."""
        jobs = self.traffic.jobs
        waiting: queue.SimpleQueue[tuple[Work[Any], Callable[[Any], object]]] = queue.SimpleQueue()
        with self._lock:  # or a second caller would find neither the jobs nor what becomes of them
            for work, (scope, since) in jobs.copy().items():
                if not is_work(work) or jobs.pop(work, None) is None:
                    continue  # it has ended in this moment
                work.abandoned = True
                function = work.on_abandon or self.on_abandon
                if function is not None:
                    self._under_way[work] = location(function)
                    waiting.put((work, function))
                logger.warning(
                    "abandoned after %.1f s: %s; %s",
                    self.traffic.clock() - since,
                    describe(scope),
                    f"it goes to {location(function)}"
                    if function
                    else "nobody takes it: declare @probes.on_abandon",
                )
        until = time.monotonic() + ABANDON
        for _ in range(min(waiting.qsize(), SIDE_BY_SIDE)):
            thread = threading.Thread(
                target=self._give_back, args=(waiting, until), name="probekit:abandon", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                logger.exception("no thread could be started to call on_abandon")

    def given_back(self) -> bool:
        """Whether every call of ``on_abandon`` has come back."""
        return not self._under_way

    def give_up(self) -> None:
        """Name the calls that have not, and wait for them no longer."""
        with self._lock:
            late, self._under_way = self._under_way, {}
        if late:
            logger.error(
                "on_abandon has not come back within %g s, and nobody waits for it: %s",
                ABANDON,
                named(late),
            )

    def name_held(self) -> None:
        """Name them in a thread, where the loop that ought to give up does not come to it."""
        if late := self._under_way.copy():
            logger.error(
                "the event loop is held up, and the end of the application with it; an async "
                "on_abandon must not block: make it a plain def, which runs in a thread; not back "
                "within %g s: %s",
                ABANDON,
                named(late),
            )

    def ended_late(self, work: Work[Any]) -> None:
        """Say that a job has ended that was given back before."""
        if work.abandoned:
            logger.warning(
                "%s has ended after it was abandoned; it may be done twice", describe(work.scope)
            )

    # -- in the threads -----------------------------------------------------------------------

    def _give_back(
        self, waiting: queue.SimpleQueue[tuple[Work[Any], Callable[[Any], object]]], until: float
    ) -> None:
        with suppress(queue.Empty):
            while True:
                self._call(*waiting.get_nowait(), until)

    def _call(self, work: Work[Any], function: Callable[[Any], object], until: float) -> None:
        try:
            result = function(work.job)
        except BaseException as error:  # it may raise anything, and harm no other job
            self._failed(work, error)
        else:
            if inspect.isawaitable(result):
                self._await(work, result, until)
            elif inspect.isgenerator(result) or inspect.isasyncgen(result):
                # Looked for here, and not in work(), which stands in the path of every job.
                self._failed(work, TypeError(NEVER_RAN))
            else:
                self._done(work)

    def _await(self, work: Work[Any], result: Awaitable[object], until: float) -> None:
        async def main() -> None:
            try:
                await result
            except BaseException as error:
                if is_cancelled(error):
                    raise  # it took too long, and is named
                self._failed(work, error)
            else:
                self._done(work)

        left = max(0.0, until - time.monotonic())
        if not self._engine.spawn_threadsafe(
            main, name="probekit:abandon", timeout=left, overdue=nothing
        ):
            if inspect.iscoroutine(result):
                result.close()
            logger.error(
                "%s is not given back: its on_abandon is async, and the application's event loop "
                "is not known or has ended; make it a plain def",
                describe(work.scope),
            )
            self._under_way.pop(work, None)

    def _done(self, work: Work[Any]) -> None:
        where = self._under_way.get(work, "on_abandon, late")
        logger.info("%s has been given to %s", describe(work.scope), where)
        self._under_way.pop(work, None)  # after the log, since the process may end now

    def _failed(self, work: Work[Any], error: BaseException) -> None:
        where = self._under_way.get(work, "on_abandon")
        logger.error("%s is not given back: %s failed", describe(work.scope), where, exc_info=error)
        self._under_way.pop(work, None)


def named(calls: Mapping[Work[Any], str]) -> str:
    """Name calls of ``on_abandon``, each with its job."""
    return ", ".join(f"{where} with {describe(work.scope)}" for work, where in calls.items())
