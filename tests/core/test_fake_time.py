"""The fake time that the other tests stand on is itself right."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.fake_time import EPOCH, START

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio


async def test_sleeping_passes_time_and_takes_none(clock: FakeClock) -> None:
    """A year is over at once, and the loop, the clock and the wall agree on it."""
    assert clock.monotonic() == START
    year = 365 * 24 * 3600
    await anyio.sleep(year)
    assert clock.monotonic() == anyio.current_time() == pytest.approx(START + year)
    assert clock.time() == pytest.approx(EPOCH + START + year)


async def test_timers_fire_in_their_order_at_their_time(clock: FakeClock) -> None:
    """Whoever sleeps less wakes first, at the very moment."""
    woke: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        woke.append((seconds, clock.monotonic() - START))

    async with anyio.create_task_group() as group:
        for seconds in (3.0, 1.0, 2.0, 1.5):
            group.start_soon(sleeper, seconds)
    assert [seconds for seconds, _ in woke] == [1.0, 1.5, 2.0, 3.0]
    assert [moment for _, moment in woke] == pytest.approx([1.0, 1.5, 2.0, 3.0])


async def test_time_waits_for_a_thread_while_it_is_held(clock: FakeClock) -> None:
    """A timer an hour ahead does not overtake a thread that is at work."""
    event = anyio.Event()
    timed_out = False

    async def timeout() -> None:
        nonlocal timed_out
        await anyio.sleep(3600)
        timed_out = True

    async with anyio.create_task_group() as group:
        group.start_soon(timeout)
        with clock.hold():
            gate = threading.Event()
            threading.Timer(0.05, gate.set).start()
            await anyio.to_thread.run_sync(gate.wait, 10)
            event.set()
            assert clock.monotonic() == START
            assert not timed_out
    assert clock.monotonic() == START + 3600


async def test_time_that_passes_while_the_loop_stands_still_makes_timers_late(
    clock: FakeClock,
) -> None:
    """advance() is what a blocking call does to a loop."""
    woke: list[float] = []

    async def sleeper() -> None:
        await anyio.sleep(1)
        woke.append(clock.monotonic() - START)

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        await anyio.sleep(0.5)
        clock.advance(4)
    assert woke == [4.5]
