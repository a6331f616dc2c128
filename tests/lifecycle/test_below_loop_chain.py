"""Where others ask for SIGTERM beside a loop that owns it: of the loop, or of Python."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import until

from ._loops import FACTORIES, LoopServer, arrived, run, settled
from ._signals import DELAY, end, held_back, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.usefixtures("nobody_else"),
    pytest.mark.parametrize("factory", FACTORIES),
]


# -- of the loop --------------------------------------------------------------------------------


def test_a_callback_added_later_replaces_the_servers_and_comes_after_the_drain(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A look at a readiness probe finds it; the one that it replaced is not called, as ever."""
    later: list[float] = []

    async def main(server: LoopServer) -> None:
        probes = started()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: later.append(time.monotonic()))
        probes.service.sigterm.check(time.monotonic())
        began = time.monotonic()
        sigterm()
        assert state(probes) == [True]
        await until(lambda: bool(later))
        await asyncio.sleep(DELAY)
        assert len(later) == 1
        assert later[0] - began >= DELAY
        assert server.signals == []
        end(probes)
        sigterm()
        await settled()
        assert (len(later), server.signals) == (2, [])

    run(factory, main)


def test_a_callback_added_later_stays_at_the_end(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Nobody has looked; what stands above is not taken away."""
    later: list[bool] = []

    async def main(server: LoopServer) -> None:
        probes = started()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, later.append, True)
        end(probes)
        sigterm()
        await settled()
        assert (later, server.signals) == ([True], [])

    run(factory, main)


def test_a_callback_added_during_the_drain_has_the_signal_at_the_end(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It is called by the signal that is sent again, and the one that it replaced is not."""
    later: list[bool] = []

    async def main(server: LoopServer) -> None:
        probes = started()
        sigterm()
        await settled()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, later.append, True)
        await until(lambda: bool(later))
        await asyncio.sleep(DELAY)
        assert (later, server.signals) == ([True], [])
        end(probes)

    run(factory, main)


def test_a_loop_that_gives_the_signal_up_leaves_the_default_action_below(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A look finds that, too; in the end the process would die of it."""

    async def main(server: LoopServer) -> None:
        probes = started()
        assert asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        probes.service.sigterm.check(time.monotonic())
        assert probes.sigterm == "armed"
        with held_back():
            sigterm()
        end(probes)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert server.signals == []

    run(factory, main)


# -- a handler of Python's beside the loop's ----------------------------------------------------


class Above:
    """A library that puts a handler of Python's above the loop's callback.

    Both get the signal then, each by its own way.
    """

    def __init__(self, *, passes_on: bool) -> None:
        self.signals = 0
        below: Any = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: object) -> None:
            self.signals += 1
            if passes_on:
                below(number, frame)

        signal.signal(signal.SIGTERM, handle)


PASSES_ON = pytest.mark.parametrize("passes_on", [True, False], ids=["passes on", "keeps"])


@PASSES_ON
def test_without_the_library_a_handler_and_the_callback_both_get_the_signal(
    passes_on: bool, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """What the others of this group are measured by."""

    async def main(server: LoopServer) -> None:
        above = Above(passes_on=passes_on)
        sigterm()
        await arrived(server)
        assert above.signals == 1

    run(factory, main)


@PASSES_ON
def test_a_handler_that_stood_above_the_callback_before_gets_the_signal_too(
    passes_on: bool, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """After the drain both are called, once each."""

    async def main(server: LoopServer) -> None:
        above = Above(passes_on=passes_on)
        probes = started()
        sigterm()
        assert (state(probes), above.signals) == ([True], 0)
        await arrived(server)
        end(probes)
        assert above.signals == 1

    run(factory, main)


@pytest.mark.parametrize("passes_on", [True, False], ids=["passes on", "keeps"])
def test_a_handler_that_came_later_keeps_the_signal_from_neither(
    passes_on: bool, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The loop reads the signal from its pipe whatever Python's handler does, so it drains."""

    async def main(server: LoopServer) -> None:
        probes = started()
        above = Above(passes_on=passes_on)
        began = time.monotonic()
        sigterm()
        await until(lambda: state(probes) == [True])
        assert above.signals == 1
        assert await arrived(server) - began >= DELAY
        end(probes)

    run(factory, main)


@PASSES_ON
def test_after_a_look_a_handler_that_came_later_and_the_callback_both_get_the_signal(
    passes_on: bool, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Ours stands above twice then, and hands on what it took, once."""

    async def main(server: LoopServer) -> None:
        probes = started()
        above = Above(passes_on=passes_on)
        probes.service.sigterm.check(time.monotonic())
        began = time.monotonic()
        sigterm()
        assert (state(probes), above.signals) == ([True], 0)
        assert await arrived(server) - began >= DELAY
        end(probes)
        assert above.signals == 1

    run(factory, main)
