"""The watchdog: a thread that notices when the process stands still."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._lifecycle import main_thread
from probekit._lifecycle.hypercorn import worker_count
from probekit._lifecycle.pod.exits import why_not_exit
from probekit._lifecycle.pod.keeper import Keeper
from probekit._lifecycle.watchdog.cause import Effort
from probekit._lifecycle.watchdog.describe import loop_stall, threads_stall
from probekit._lifecycle.watchdog.last_words import LastWords
from probekit._lifecycle.watchdog.signs import LoopSigns, ThreadSigns
from probekit._lifecycle.watchdog.stacks import best_stacks
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.clock import Clock
    from probekit._core.engine import Engine
    from probekit._lifecycle.pod.pod import Pod
    from probekit._lifecycle.traffic import Traffic
    from probekit._lifecycle.watchdog.policy import Policy
    from probekit._lifecycle.watchdog.stacks import Stacks
    from probekit._lifecycle.watchdog.stall import Stall

__all__ = ["Watchdog"]

logger = logging.getLogger("probekit")

PERIOD = 0.1
"""Seconds between two looks."""

SOONEST = 0.02
"""Seconds between the last two, if the threshold comes so soon; the system counts CPU time in
steps of 0.01 s."""

OVERSLEPT = 0.5
"""Seconds by which a look may be late. When this thread did not run either, nobody is to blame."""

ASK_AGAIN = 60.0
"""Seconds after which a process that had to stay, and is stuck still, asks again."""


class Watchdog:
    """Notices when nothing in the process moves, says what holds it, and ends it if it is to.

    Args:
        clock: The clocks.
        policy: When it counts as stuck, and what is done about it.
        engine: Whose heartbeat is watched.
        traffic: What is in flight.
        pod: Where exits are counted.
        free_threaded: Whether the interpreter has no GIL.

    Attributes:
        stall: What the process is stuck in, or None; readable from any thread.
        effort: What the threads that stand still do.
        last_words: Who says it.
    """

    def __init__(
        self,
        clock: Clock,
        policy: Policy,
        engine: Engine,
        traffic: Traffic,
        pod: Pod,
        *,
        free_threaded: bool = main_thread.free_threaded(),
    ) -> None:
        self._clock = clock.monotonic
        self._policy = policy
        self._engine = engine
        self._traffic = traffic
        self._pod = pod
        self._free_threaded = free_threaded
        self._loop_signs = LoopSigns(engine.heartbeat, traffic)
        self._thread_signs = ThreadSigns(traffic)
        self._keeper = Keeper(
            self.tick,
            name="probekit:watchdog",
            period=PERIOD,
            trouble="the watchdog failed; it goes on",
        )
        self._stacks: Stacks | None = None
        self.effort: Effort = Effort()
        self.last_words: LastWords = LastWords()
        self.stall: Stall | None = None
        self._last = self._sign = self._ask_at = 0.0
        self._quiet = 0.0
        self._told_starved = False
        renew_when_forked(self)

    # -- living -------------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse what the server makes impossible.

        Raises:
            ConfigurationError: If an exit of this process would be the end of all its siblings.
        """
        if self._policy.on_stuck == "exit" and (why := obstacle()):
            raise ConfigurationError(f"on_stuck='exit' cannot work here: {why}")

    def start(self) -> None:
        """Watch, until `stop`."""
        if self.begin():
            self._keeper.start()

    def begin(self) -> bool:
        """Be ready for `tick`; False if there is nothing to watch for.

        Nor is there where threads are greenlets: nothing could run beside what hangs.
        """
        after = self._policy.stuck_after
        if self._policy.on_stuck == "exit" and (why := futile(self._pod)):
            # Now, and not when the first worker is stuck and stays.
            logger.warning("on_stuck='exit' will end no process here: %s", why)
        if after is None or main_thread.greenlets():
            return False
        if self._stacks is None:
            self._stacks = best_stacks(after, free_threaded=self._free_threaded)
        self._last = self._sign = self._clock()
        self._quiet = 0.0
        self._told_starved = False
        self.effort.forget()
        return True

    def stop(self) -> None:
        """Watch no more."""
        self._keeper.stop()
        stacks, self._stacks, self.stall = self._stacks, None, None
        if stacks is not None:
            stacks.close()

    def renew(self) -> None:
        """Be as new in a child that was forked: nobody watches there."""
        self._stacks = self.stall = None

    # -- watching -----------------------------------------------------------------------------

    @property
    def saturated(self) -> bool:
        """Whether all threads of a WSGI server are busy, and something moves."""
        return self._traffic.threaded and self.stall is None and self._thread_signs.saturated

    @property
    def loop_starved(self) -> bool:
        """Whether the event loop stands still since it gets no CPU: others are to blame."""
        return not self._traffic.threaded and self.effort.starved

    def tick(self) -> float:
        """Look once; return how many seconds from now to look again."""
        after, stacks = self._policy.stuck_after, self._stacks
        if after is None or stacks is None:
            return PERIOD  # it has just been stopped
        now = self._clock()
        passed, self._last = now - self._last, now
        if self._signs.seen(ask_tasks=stacks.ask_tasks):
            self._moved(now, stacks)
        elif passed > PERIOD + OVERSLEPT:
            self.effort.skip()
        else:
            self._quiet += self.effort.count(self._signs.natives(), passed)
        stall = self.stall
        if self._quiet >= after and stall is None:
            self._stuck(now, stacks)
        elif stall is not None and now >= self._ask_at:
            self._leave(now, partial(self._lasts, stall, stacks))
        elif self.effort.starved and now - self._sign >= after and not self._told_starved:
            self._told_starved = True
            self.last_words.starved(now - self._sign)
        left = after - self._quiet
        # Beside a thread that computes each look is late already, for want of the GIL.
        return PERIOD if left <= 0 or self.effort.starved else min(PERIOD, max(SOONEST, left))

    @property
    def _signs(self) -> LoopSigns | ThreadSigns:
        return self._thread_signs if self._traffic.threaded else self._loop_signs

    def _moved(self, now: float, stacks: Stacks) -> None:
        stall, self.stall = self.stall, None
        since, self._sign, self._quiet = self._sign, now, 0.0
        self.effort.forget()
        self._told_starved = False
        stacks.moved(now)
        if stall is not None:
            self.last_words.over(stall, now - since)

    def _stuck(self, now: float, stacks: Stacks) -> None:
        cause = self.effort.cause
        if self._traffic.threaded:
            busy, count = self._thread_signs.busy(), self._traffic.threads or 0
            stall, write = threads_stall(self._sign, busy, count, stacks, cause=cause)
        else:
            stall, write = loop_stall(self._sign, self._engine, stacks, cause=cause)
        # Probers hear of it first: what computes keeps the GIL, and to read sources takes it often.
        self._hold(stall, stacks)
        stall = stall._replace(stack=write())
        self._hold(stall, stacks)
        still = partial(self._lasts, stall, stacks)
        self.last_words.stuck(stall, now - self._sign, still)
        if still():
            self._leave(now, still, first=True)

    def _hold(self, stall: Stall, stacks: Stacks) -> None:
        # It may have been stopped meanwhile: whatever held the loop has let go.
        self.stall = stall if self._stacks is stacks else None

    def _lasts(self, stall: Stall, stacks: Stacks) -> bool:
        # To say it may take a second, in which the process may have moved, or been stopped.
        if self.stall is stall and self._signs.seen(ask_tasks=stacks.ask_tasks):
            self._moved(self._clock(), stacks)
        return self.stall is stall

    # -- leaving ------------------------------------------------------------------------------

    def _leave(self, now: float, still: Callable[[], bool], *, first: bool = False) -> None:
        if self._policy.on_stuck != "exit":
            self._ask_at = math.inf
            return
        self._ask_at = now + ASK_AGAIN
        limit = self._policy.exits_per_hour
        why = obstacle() or why_not_exit(self._pod, clock=self._clock, per_hour=limit)
        if why is None:
            self.last_words.leave(still)
        elif first:
            self.last_words.stays(why, still)


def obstacle() -> str | None:
    """Say why the end of this process would be more than that, or None."""
    workers = worker_count()
    if workers < 2:
        return None
    return (
        f"hypercorn ends all its {workers} workers when one of them ends; leave it at 'report' and "
        f"have the container restarted by its liveness probe, or use another server"
    )


def futile(pod: Pod) -> str | None:
    """Say why a process that is stuck would not be ended, and what to do instead, or None."""
    if main_thread.greenlets():
        return (
            "threads are gevent's greenlets, and none runs beside one that blocks; rely on "
            "gunicorn's --timeout, or have liveness ask `probekit alive`"
        )
    if pod.directory is None:
        return (
            f"exits cannot be counted: {pod.obstacle}; let the workers share a directory "
            f"(PROBEKIT_RUNTIME_DIR, and no PROBEKIT_SCOPE=process), or have liveness ask a side "
            f"port, and leave it at 'report'"
        )
    return obstacle()
