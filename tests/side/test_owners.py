"""Whose loop the checks run on when somebody asks from the side port first."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import anyio
import pytest
import trio
from anyio import to_thread

from probekit import Probe
from probekit._core.loops import find_loop
from probekit._core.portal import PORTAL, SIDE
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._asking import ask

if TYPE_CHECKING:
    from probekit import Probes

LOCAL = "127.0.0.1"


@pytest.fixture
def probes() -> Probes:
    """Probes without checks."""
    return make_probes()


def ident() -> int:
    """Return the thread of probekit's own loop."""

    async def current() -> int:
        return threading.get_ident()

    return PORTAL.run(current)


def watch(probes: Probes) -> list[int]:
    """Declare a check that notes the thread of each run."""
    threads: list[int] = []

    @probes.readiness(max_age=0)
    async def watched() -> None:
        threads.append(threading.get_ident())

    return threads


async def moved(probes: Probes) -> None:
    """Return when an application's loop runs the checks."""
    engine = probes.service.engine
    with anyio.fail_after(10):
        while engine.lent or not engine.lives:
            await anyio.sleep(0.01)


def test_the_side_ports_loop_never_owns_the_checks(probes: Probes) -> None:
    """Asked there first, they run on probekit's own loop, and so do those in the background."""
    threads = watch(probes)
    beats: list[int] = []

    @probes.readiness(interval=0.05, timeout=0.05, initial_delay=0)
    async def beat() -> None:
        beats.append(threading.get_ident())

    async def from_the_side() -> bool:
        probes.service.engine.start()
        return (await probes.report(exclude="beat")).passing

    assert SIDE.run(from_the_side) is True
    assert SIDE.run(from_the_side) is True
    wait_until(lambda: len(beats) > 1, "the background check runs")
    assert {*threads, *beats} == {ident()}
    PORTAL.run(probes.service.stopped)


def test_a_check_that_is_asked_first_from_there_runs(probes: Probes) -> None:
    """Even if nobody has started anything."""
    threads = watch(probes)
    assert SIDE.run(probes.report).passing
    assert threads == [ident()]


def test_the_application_takes_over_what_was_lent(probes: Probes) -> None:
    """When it starts, its own loop runs the checks; a run that is waited for is waited for."""
    threads = watch(probes)
    going, go_on = threading.Event(), threading.Event()

    @probes.readiness(timeout=8, max_age=3600)
    def slow() -> None:
        going.set()
        go_on.wait(8)

    async def main() -> int:
        engine = probes.service.engine
        async with probes.lifespan():
            assert engine.lent
            go_on.set()
            await moved(probes)
            assert (await probes.report()).passing
            return threading.get_ident()

    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(PORTAL.run, probes.report)
        assert going.wait(10)
        assert anyio.run(main) == threads[-1]
        assert waiting.result(10).passing
    assert threads[0] == ident() != threads[-1]


def test_a_run_that_nobody_waits_for_is_given_up_when_it_moves(probes: Probes) -> None:
    """An overdue run ends where it was; the next one is on the new loop."""
    runs: list[int] = []
    cancelled = threading.Event()

    @probes.readiness(timeout=0.5, cancel_after=60, max_age=0)
    async def hung() -> None:
        runs.append(threading.get_ident())
        try:
            await asyncio.sleep(60 if len(runs) == 1 else 0)
        finally:
            cancelled.set()

    assert not PORTAL.run(probes.report).passing

    async def main() -> None:
        async with probes.lifespan():
            await moved(probes)
            assert (await probes.report()).passing
            assert runs[1] == threading.get_ident() != runs[0]

    anyio.run(main)
    assert cancelled.wait(10)


def test_two_applications_do_not_take_it_from_each_other(probes: Probes) -> None:
    """What was handed over already is not handed over again."""
    PORTAL.run(probes.report)
    engine = probes.service.engine

    async def main() -> None:
        engine.start()
        await moved(probes)
        PORTAL.post(engine._give_way)
        await to_thread.run_sync(ident)  # it has been there
        assert engine.lives
        await engine.stop()

    anyio.run(main)


def test_who_takes_it_meanwhile_keeps_it(probes: Probes) -> None:
    """A question that comes to a loop that owns nothing any more is answered from what is known."""
    there = threading.Event()
    leave = threading.Event()

    async def own() -> None:
        await probes.report()
        there.set()
        while not leave.is_set():
            await asyncio.sleep(0.01)

    engine = probes.service.engine
    threads = watch(probes)
    thread = threading.Thread(target=lambda: asyncio.run(own()))

    async def ask_late() -> bool:
        asked = asyncio.ensure_future(engine.refresh([*engine.states[Probe.READINESS].values()]))
        await asyncio.sleep(0)  # the question is put
        thread.start()  # while PORTAL stands still, and so cannot take it yet
        return await asked

    released = threading.Event()

    def stand_still() -> None:
        while not released.is_set():
            pass

    PORTAL.post(stand_still)
    with ThreadPoolExecutor(1) as others:
        asked = others.submit(SIDE.run, ask_late)
        assert there.wait(10)
        released.set()
        assert asked.result(10) is True
    leave.set()
    thread.join(10)
    assert len(threads) == 1
    assert threads[0] != ident()


def test_an_application_that_ends_while_it_is_asked_is_not_brought_back(probes: Probes) -> None:
    """Or its checks would run for ever on a loop that they do not belong to."""
    engine = probes.service.engine
    states = [*engine.states[Probe.READINESS].values()]

    async def ask() -> bool:
        return await engine.refresh(states, taken_within=5, lend=False)

    async def end_meanwhile(others: ThreadPoolExecutor) -> Future[bool]:
        engine.start()
        asked = others.submit(SIDE.run, ask)
        time.sleep(0.3)  # noqa: ASYNC251 - until the question waits for this loop
        await engine.stop()
        await asyncio.sleep(0.1)
        assert not engine.lives
        return asked

    with ThreadPoolExecutor(1) as others:
        assert asyncio.run(end_meanwhile(others)).result(10) is True
    assert SIDE.run(ask) is True  # and there is nobody to ask any more
    assert not engine.lives


def test_a_loop_is_found_where_one_runs() -> None:
    """Without an error where none does."""
    assert find_loop() is None

    async def main() -> bool:
        return find_loop() is not None

    assert anyio.run(main)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_serves_nothing_until_it_serves_itself() -> None:
    """Its parent answers on, and what it serves itself is its own."""
    probes = make_probes()
    with probes.serve(host=LOCAL, port=0) as serving:
        port = serving.port
        assert ask(port, "/readyz").status == 200
        assert exit_status_of_a_child(probes, port) == 0
        assert ask(serving.port, "/readyz").status == 200
        assert probes.service.listeners


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_thread_of_trios_has_a_loop_of_its_own() -> None:
    """The parent's run is there in memory and takes questions, but nobody will answer them."""
    probes = make_probes()
    probes.readiness(lambda: None, name="check")

    async def main() -> int:
        async with probes.serve(host=LOCAL, port=0) as serving:
            return await trio.to_thread.run_sync(exit_status_of_a_child, probes, serving.port)

    assert trio.run(main) == 0


def exit_status_of_a_child(probes: Probes, port: int) -> int:
    """Fork, and return what the child finds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            os._exit(in_the_child(probes, port))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_the_child(probes: Probes, port: int) -> int:
    """Return 0 if all is as it should be, or else which of it is not."""
    if probes.service.listeners or probes.service.traffic.blocks:
        return 1
    probes.drain(reason="only here")
    if ask(port, "/readyz").status != 200:
        return 2  # the parent answers
    with probes.serve(host=LOCAL, port=0) as own:
        if ask(own.port, "/readyz").status != 503:
            return 3
        probes.undrain()
        time.sleep(0.11)  # so long is an answer repeated
        if ask(own.port, "/readyz").status != 200:
            return 4
    return 0
