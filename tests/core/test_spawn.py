"""Something to do on the application's loop, sent there from any thread."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from tests.conftest import BACKENDS
from tests.waiting import until, wait_until
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from probekit import Probes
    from probekit._core.engine import Engine

pytestmark = pytest.mark.anyio


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run in real time: other threads have a part in it."""
    return request.param


def in_thread(function: Any, *args: Any, **options: Any) -> Any:
    """Return what ``function`` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function(*args, **options)))
    thread.start()
    thread.join(5)
    return found[0]


async def until_set(event: anyio.Event) -> None:
    """Wait for ``event``, not for ever."""
    with anyio.fail_after(5):
        await event.wait()


def spawn_on(engine: Engine, main: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Return whether ``engine`` took ``main``, which has a minute."""
    return engine.spawn_threadsafe(main, name="probekit:errand", timeout=60, overdue=never)


def never() -> None:
    """Be never called."""
    raise AssertionError


async def test_what_takes_too_long_is_told_of_and_cancelled_once() -> None:
    """It may clean up, and even go on: nobody cancels it again."""
    engine = make_probes().service.engine
    engine.start()
    heard: list[str] = []
    done = anyio.Event()

    async def main() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            heard.append("cancelled")
            done.set()

    engine.spawn_threadsafe(
        main, name="probekit:errand", timeout=0.02, overdue=lambda: heard.append("overdue")
    )
    await until_set(done)
    await until(lambda: not engine._errands.under_way)
    await anyio.sleep(0.05)  # in which it would be cancelled again
    assert heard == ["overdue", "cancelled"]
    assert engine._errands.under_way == {}
    await engine.stop()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same thread", "another thread"])
async def test_it_runs_on_the_loop_in_a_task_of_its_own(elsewhere: bool) -> None:
    """With the name it was given, soon, and never within the call."""
    engine = make_probes().service.engine
    engine.start()
    ran: list[tuple[int, str | None]] = []
    done = anyio.Event()

    async def main() -> None:
        ran.append((threading.get_ident(), anyio.get_current_task().name))
        await anyio.lowlevel.checkpoint()
        done.set()

    def spawn() -> bool:
        return spawn_on(engine, main)

    assert (in_thread(spawn) if elsewhere else spawn()) is True
    assert ran == []
    await until_set(done)
    assert ran == [(threading.get_ident(), "probekit:errand")]
    await anyio.wait_all_tasks_blocked()
    assert engine._errands.under_way == {}
    await engine.stop()


async def test_a_task_that_nobody_holds_is_not_lost() -> None:
    """Asyncio's loop holds its tasks weakly; a collection while one waits does not end it."""
    engine = make_probes().service.engine
    engine.start()
    done = anyio.Event()

    async def main() -> None:
        await anyio.sleep(0.05)
        done.set()

    for _ in range(20):
        spawn_on(engine, main)
    await anyio.sleep(0.01)
    gc.collect()
    await until_set(done)
    await until(lambda: not engine._errands.under_way)
    await engine.stop()


async def test_one_that_ends_within_its_first_step_leaves_nothing() -> None:
    """Where a task begins eagerly, it has ended before anybody holds it."""
    engine = make_probes().service.engine
    engine.start()
    ran: list[int] = []

    async def main() -> None:
        ran.append(1)

    for _ in range(3):
        assert spawn_on(engine, main)
    await anyio.wait_all_tasks_blocked()
    await anyio.sleep(0.01)
    assert ran == [1, 1, 1]
    assert engine._errands.under_way == {}
    await engine.stop()


async def test_it_goes_on_after_the_checks_have_ended() -> None:
    """What was begun is the application's, and only the loop ends it."""
    engine = make_probes().service.engine
    engine.start()
    began, go_on, done = anyio.Event(), anyio.Event(), anyio.Event()

    async def main() -> None:
        began.set()
        await go_on.wait()
        done.set()

    spawn_on(engine, main)
    await until_set(began)
    await engine.stop()
    go_on.set()
    await until_set(done)


async def nobody() -> None:
    """Be never run."""
    raise AssertionError


def spawned(probes: Probes) -> bool:
    """Return whether ``probes`` took something to do."""
    return spawn_on(probes.service.engine, nobody)


def test_without_a_loop_it_says_so() -> None:
    """Before anybody asked and nothing was started, there is none."""
    assert spawned(make_probes()) is False


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_the_end_of_the_loop_it_says_so(backend: tuple[str, dict[str, Any]]) -> None:
    """Whether the application said goodbye or not, and nothing is left unawaited."""
    for goodbye in (False, True):
        probes = make_probes()

        async def main() -> None:
            probes.service.engine.start()  # noqa: B023 - it runs at once
            if goodbye:  # noqa: B023
                await probes.service.engine.stop()  # noqa: B023

        anyio.run(main, backend=backend[0], backend_options=backend[1])
        assert spawned(probes) is False
        gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_in_a_forked_child_it_says_so(backend: tuple[str, dict[str, Any]]) -> None:
    """The loop turns in the parent only, which does not do it in its stead."""
    probes = make_probes()

    async def main() -> int:
        probes.service.engine.start()
        child = os.fork()
        if child == 0:
            try:
                os._exit(int(spawned(probes)))
            finally:
                os._exit(2)
        await anyio.sleep(0.05)
        return child

    child = anyio.run(main, backend=backend[0], backend_options=backend[1])
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_that_is_under_way_ends_with_the_loop(backend: tuple[str, dict[str, Any]]) -> None:
    """It is cancelled like every other task, and cleans up."""
    probes = make_probes()
    told: list[str] = []

    async def long() -> None:
        told.append("began")
        try:
            await anyio.sleep_forever()
        finally:
            told.append("ended")

    async def main() -> None:
        probes.service.engine.start()
        spawn_on(probes.service.engine, long)
        while not told:
            await anyio.sleep(0.005)

    anyio.run(main, backend=backend[0], backend_options=backend[1])
    assert told == ["began", "ended"]
    wait_until(
        lambda: probes.service.engine._errands.under_way == {}, "it is forgotten", patience=1
    )
