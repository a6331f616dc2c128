"""A server that asks the event loop for SIGTERM, on asyncio's loop or on uvloop's."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.waiting import until

from ._signals import DELAY, StandIn, restarts, sigterm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["FACTORIES", "LoopServer", "arrived", "block", "run", "settled"]

FACTORIES = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


class LoopServer(StandIn):
    """Stands for a server that asks the event loop for SIGTERM."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.install()
        self.handler = signal.getsignal(signal.SIGTERM)

    def install(self) -> None:
        """Ask for it."""
        self._loop.add_signal_handler(signal.SIGTERM, self.callback)

    def callback(self) -> None:
        """Take a signal."""
        self.signals.append(time.monotonic())

    async def alone(self) -> bool:
        """Return whether the signal goes nowhere but here, as it did at first."""
        if signal.getsignal(signal.SIGTERM) != self.handler or not restarts():
            return False
        before = len(self.signals)
        sigterm()
        await settled()
        return len(self.signals) == before + 1


def block(seconds: float) -> None:
    """Hold the loop."""
    time.sleep(seconds)


async def settled() -> None:
    """Let the loop read its pipe, and read it again."""
    for _ in range(5):
        await asyncio.sleep(0.005)


async def arrived(server: StandIn) -> float:
    """Return when the signal reached the server; by then it had come there once."""
    await until(lambda: bool(server.signals))
    await asyncio.sleep(DELAY)
    assert len(server.signals) == 1
    return server.signals[0]


def run(
    factory: Callable[[], asyncio.AbstractEventLoop],
    main: Callable[[LoopServer], Awaitable[None]],
) -> None:
    """Run a coroutine function on a new loop that has a server's callback for SIGTERM."""

    async def with_server() -> None:
        await main(LoopServer(asyncio.get_running_loop()))

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(with_server())
