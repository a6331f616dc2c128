"""Where an event loop owns SIGTERM: the server gave it a callback, and that comes last."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import until, wait_until
from tests.web._asking import make_probes

from ._loops import FACTORIES, LoopServer, arrived, block, run, settled
from ._signals import DELAY, departing, end, restarts, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.usefixtures("nobody_else"),
    pytest.mark.parametrize("factory", FACTORIES),
]


def test_the_callback_is_called_once_after_the_drain(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Then everything is as before: the table, the handler, and what becomes of system calls."""

    async def main(server: LoopServer) -> None:
        probes = started()
        assert probes.sigterm == "armed"
        began = time.monotonic()
        sigterm()
        assert state(probes) == [True]
        assert await arrived(server) - began >= DELAY
        assert await server.alone()
        end(probes)
        assert await server.alone()

    run(factory, main)


def test_the_end_of_the_application_puts_everything_back(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Without a signal, and as often as it comes back."""

    async def main(server: LoopServer) -> None:
        probes = make_probes(drain_delay=DELAY)
        for _ in range(3):
            async with probes.lifespan():
                assert signal.getsignal(signal.SIGTERM) != server.handler
                assert restarts()
            assert await server.alone()

    run(factory, main)


def test_a_signal_that_came_just_before_drains_too(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Python's handler has had it, the loop has not read it: it would be the server's, or lost."""

    async def main(server: LoopServer) -> None:
        sigterm()
        probes = started()
        assert state(probes) == [False]
        await until(lambda: state(probes) == [True])
        began = time.monotonic()
        assert await arrived(server) - began >= DELAY - 0.05
        assert await server.alone()
        end(probes)

    run(factory, main)


def test_a_signal_that_is_unread_at_the_end_is_the_servers(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It began a drain, and the application ended in the same breath."""

    async def main(server: LoopServer) -> None:
        probes = started()
        sigterm()
        end(probes)
        await arrived(server)
        assert await server.alone()

    run(factory, main)


def test_two_signals_while_the_loop_is_blocked_are_one(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Both are read at once when it turns again."""

    async def main(server: LoopServer) -> None:
        probes = started(1.2)
        sigterm()
        block(0.05)
        sigterm()
        await settled()
        assert (server.signals, state(probes)) == ([], [True])
        await arrived(server)
        assert await server.alone()
        end(probes)

    run(factory, main)


def test_a_loop_that_is_blocked_beyond_the_delay_calls_it_once(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It reads the first signal and the one sent again together."""

    async def main(server: LoopServer) -> None:
        probes = started(0.05)
        sigterm()
        block(0.3)
        assert server.signals == []
        await arrived(server)
        assert await server.alone()
        end(probes)

    run(factory, main)


def test_a_second_signal_is_called_at_once(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Whoever insists is not kept waiting, and the drain's end calls nobody any more."""

    async def main(server: LoopServer) -> None:
        probes = started(30)
        sigterm()
        await asyncio.sleep(1.05)
        assert server.signals == []
        second = time.monotonic()
        sigterm()
        assert await arrived(server) - second < 5
        assert await server.alone()
        end(probes)

    run(factory, main)


def test_a_third_signal_goes_to_the_server_as_any_other(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """After the hand-over nobody stands before it."""

    async def main(server: LoopServer) -> None:
        probes = started(0.05)
        sigterm()
        await arrived(server)
        for count in (2, 3):
            sigterm()
            await settled()
            assert len(server.signals) == count
        end(probes)

    run(factory, main)


def test_it_is_called_once_wherever_the_loop_is_with_the_signal_before(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """In the pipe, read from it, or done with: the one that is handed over is one."""

    async def main(server: LoopServer) -> None:
        counts = []
        for turns in range(6):
            probes = started(0.002)
            sigterm()
            for _ in range(turns):
                await asyncio.sleep(0)
            block(0.003)  # beyond what counts as a duplicate
            if not server.signals:  # on a busy machine it may be over before the loop has turned
                sigterm()
            await until(lambda: bool(server.signals))
            await settled()
            counts.append(len(server.signals))
            server.signals.clear()
            end(probes)
        assert counts == [1] * 6

    run(factory, main)


def test_two_hundred_times_it_is_called_exactly_once(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Whatever the loop, the thread and the handler happen to do at the same time."""

    async def main(server: LoopServer) -> None:
        counts = []
        for number in range(200):
            probes = started(1e-6)  # the thread hands over as soon as it is awake
            sigterm()
            if number % 3 == 0:
                block(0.002)  # the hand-over comes while the loop is busy
            await until(lambda: bool(server.signals))
            await asyncio.sleep(0)
            counts.append(len(server.signals))
            end(probes)
            await asyncio.sleep(0.002)
            counts[-1] = len(server.signals)
            server.signals.clear()
        assert counts == [1] * 200
        assert await server.alone()

    run(factory, main)


def test_a_loop_that_is_closed_first_leaves_what_it_leaves_without_the_library(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Without a lifespan nobody tells the application's end; it is harmless."""
    kept = []

    async def alone(_: LoopServer) -> None:
        pass

    async def main(_: LoopServer) -> None:
        kept.append(started())

    run(factory, alone)
    left = kind(signal.getsignal(signal.SIGTERM))
    run(factory, main)
    end(*kept)
    assert kind(signal.getsignal(signal.SIGTERM)) == left
    assert kept[0].sigterm == "not armed: the lifespan has ended"


def kind(handler: Any) -> object:
    """Return what tells handlers of several loops apart from others: their function, or itself."""
    return getattr(handler, "__name__", handler)


def test_it_lives_again_on_the_next_loop(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Each has a table of its own."""
    probes = make_probes(drain_delay=DELAY)

    async def main(server: LoopServer) -> None:
        async with probes.lifespan():
            sigterm()
            await arrived(server)

    for _ in range(2):
        run(factory, main)


def test_other_signals_of_the_loop_go_on_working(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """They share the pipe with SIGTERM, before, amid and after a drain."""
    got: list[str] = []

    async def main(server: LoopServer) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, got.append, "usr1")
        probes = started()
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
            await settled()
            sigterm()
        await arrived(server)
        signal.raise_signal(signal.SIGUSR1)
        await settled()
        assert got == ["usr1"] * 3
        end(probes)
        loop.remove_signal_handler(signal.SIGUSR1)

    run(factory, main)


def test_the_threads_end_with_the_applications(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """However many drains there were on the loop."""
    before = set(departing())

    async def main(server: LoopServer) -> None:
        for _ in range(3):
            probes = started(0.01)
            sigterm()
            await arrived(server)
            server.signals.clear()
            end(probes)

    run(factory, main)
    wait_until(lambda: set(departing()) <= before, "the threads have ended", patience=2)
