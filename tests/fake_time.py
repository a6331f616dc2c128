"""Time that passes when nothing else can happen: one clock for asyncio, uvloop, trio and probekit.

`FakeClock` is what a test holds. Event loops made for it read it, and when they have nothing left
to run they put it forward to their next timer instead of sleeping. trio knows how
(`trio.testing.MockClock`); `JumpingLoop` teaches it to asyncio's loop and to uvloop's.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import trio
import trio.testing
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextvars import Context

EPOCH = 1_800_000_000.0
"""What the wall clock shows when the monotonic clock shows 0."""

START = 1024.0

ROUNDS = 50
"""Turns of the loop after which whatever was ready has run, and what that made ready, and so on."""


class FakeClock:
    """A `probekit` clock, and the time of the loops that `backend` and `run` make."""

    def __init__(self) -> None:
        self._mock = trio.testing.MockClock(autojump_threshold=0.0)
        self._mock.jump(START)
        self._loops: list[JumpingLoop] = []
        self.held = False

    def monotonic(self) -> float:
        """Return the seconds that every loop of this clock goes by."""
        return self._mock.current_time()

    def time(self) -> float:
        """Return the same as seconds since the epoch."""
        return EPOCH + self.monotonic()

    def advance(self, seconds: float) -> None:
        """Let time pass while the caller does not let go of the loop: it stands still."""
        self._mock.jump(seconds)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no time pass while the loop has nothing to do but to wait for a thread."""
        self.held = True
        self._mock.autojump_threshold = math.inf
        try:
            yield
        finally:
            self.held = False
            self._mock.autojump_threshold = 0.0
            for loop in self._loops:
                loop.settle()

    def backend(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return what anyio's plugin and `anyio.run` need to run on this time."""
        if name == "trio":
            return "trio", {"clock": self._mock}

        def make() -> JumpingLoop:
            loop: JumpingLoop = KINDS[name]()
            loop.use(self)
            self._loops.append(loop)
            return loop

        return "asyncio", {"loop_factory": make}

    def run(self, name: str, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run ``main`` on a new loop of the kind ``name``, as the interpreter's own entry would."""
        if name == "trio":
            return trio.run(main, clock=self._mock)
        factory = self.backend(name)[1]["loop_factory"]

        async def run_main() -> Any:
            return await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(run_main())


class JumpingLoop:
    """What makes a loop jump: its timers are kept here, and the clock is put forward to them.

    uvloop does not tell when it is idle. So after `ROUNDS` turns it counts as idle, on asyncio too.
    """

    call_soon: Callable[..., Any]
    is_closed: Callable[[], bool]

    def use(self, clock: FakeClock) -> None:
        """Go by ``clock``."""
        self._clock = clock
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = count()
        self._settling = False

    def time(self) -> float:
        return self._clock.monotonic()

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, cast("Any", self), context)
        heapq.heappush(self._timers, (when, next(self._number), handle))
        self.settle()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it will not run."""

    def settle(self) -> None:
        """Jump when everything that is ready has run."""
        if not self._settling and not self.is_closed():
            self._settling = True
            self.call_soon(self._turn, ROUNDS)

    def _turn(self, left: int) -> None:
        if left:
            self.call_soon(self._turn, left - 1)
            return
        self._settling = False
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            return
        ahead = self._timers[0][0] - self.time()
        if ahead > 0:
            if self._clock.held:
                return
            self._clock.advance(ahead)
        now = self.time() + 1e-9  # as far as a real loop rounds, too
        while self._timers and self._timers[0][0] <= now:
            _, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                handle._run()
        self.settle()


KINDS: dict[str, Any] = {
    "asyncio": type("JumpingAsyncioLoop", (JumpingLoop, asyncio.SelectorEventLoop), {}),
    "uvloop": type("JumpingUvloop", (JumpingLoop, uvloop.Loop), {}),
}
