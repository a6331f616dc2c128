"""What becomes of jobs that are unfinished when the application ends."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit._lifecycle import jobs as giving_back
from tests.waiting import until, wait_until
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from probekit import Probes

anyio_test = pytest.mark.anyio


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Keep all that is said."""
    caplog.set_level(logging.INFO, "probekit")
    return caplog


@pytest.fixture
def unfinished() -> Iterator[ExitStack]:
    """Hold blocks open that outlive the application."""
    with ExitStack() as stack:
        yield stack


def said(log: pytest.LogCaptureFixture, part: str) -> list[str]:
    """Return the lines with ``part`` in them."""
    return [line for line in (each.getMessage() for each in log.records) if part in line]


def give_back(probes: Probes) -> None:
    """Abandon what is unfinished, and wait until it is taken."""
    probes.service.jobs.abandon()
    wait_until(probes.service.jobs.given_back, "it is taken")


# -- the end of an application ------------------------------------------------------------------


@anyio_test
async def test_the_end_waits_for_a_job(log: pytest.LogCaptureFixture) -> None:
    """As long as it takes, within linger; then there is nothing to give back."""
    probes = make_probes(linger=15)
    over = threading.Event()
    back: list[str] = []

    def work() -> None:
        with probes.work("invoice 17", on_abandon=back.append):
            over.wait(10)

    async with probes.lifespan():
        thread = threading.Thread(target=work)
        thread.start()
        await until(lambda: probes.in_flight["jobs"] == 1)
        threading.Timer(0.1, over.set).start()
    assert probes.in_flight["jobs"] == 0
    thread.join(5)
    assert back == []
    [line] = said(log, "the application ends")
    assert line.startswith("the application ends within 15.0 s, after job invoice 17 for 0.")


@anyio_test
async def test_what_outlasts_linger_is_given_back_while_resources_are_open(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """To its own function or to that of all, sync or async, side by side, each on its thread."""
    probes = make_probes(linger=0.05)
    back: dict[str, tuple[object, bool]] = {}
    together = threading.Barrier(2)
    loops_thread = threading.get_ident()

    @probes.on_abandon
    def take(job: object) -> None:
        together.wait(10)
        back["take"] = job, threading.get_ident() == loops_thread

    def take_too(job: str) -> None:
        together.wait(10)
        back["take_too"] = job, threading.get_ident() == loops_thread

    async def take_on_loop(job: str) -> None:
        await anyio.sleep(0.01)
        back["take_on_loop"] = job, threading.get_ident() == loops_thread

    async with probes.lifespan():
        first = unfinished.enter_context(probes.work(1))
        unfinished.enter_context(probes.work("b", on_abandon=take_too))
        unfinished.enter_context(probes.work("c", on_abandon=take_on_loop))
        unfinished.enter_context(probes.work("d", on_abandon=lambda job: take_on_loop(job)))
    assert back == {
        "take": (1, False),
        "take_too": ("b", False),
        "take_on_loop": (back["take_on_loop"][0], True),
    }
    assert first.abandoned
    assert probes.in_flight["jobs"] == 0
    lines = said(log, "abandoned after")
    assert len(lines) == 4
    assert lines[0].startswith("abandoned after 0.")
    assert ": job 1; it goes to tests.jobs.test_giving_back:" in lines[0]
    assert len(said(log, "has been given to")) == 4
    unfinished.close()
    assert "job 1 has ended after it was abandoned; it may be done twice" in log.messages
    assert len(back) == 3


@anyio_test
async def test_without_a_drain_only_what_is_in_flight_is_waited_for(
    log: pytest.LogCaptureFixture,
) -> None:
    """Or a loop that knows of no end would be waited for until the last moment."""
    probes = make_probes(linger=600)
    stopping = threading.Event()
    back: list[int] = []

    def loop() -> None:
        job = 0
        while not stopping.is_set():
            job += 1
            with probes.work(job, on_abandon=back.append):
                stopping.wait(0.02)

    thread = threading.Thread(target=loop)
    async with probes.lifespan():
        thread.start()
        await until(lambda: probes.in_flight["jobs"] == 1)
    stopping.set()
    thread.join(5)
    assert len(back) <= 1


@anyio_test
async def test_in_a_drain_what_is_begun_meanwhile_is_waited_for_too(unfinished: ExitStack) -> None:
    """Workers know that they must begin no more; what they begin is part of something."""
    probes = make_probes(linger=600)
    back: list[str] = []
    async with probes.lifespan(), anyio.create_task_group() as tasks:
        probes.drain()
        first = unfinished.enter_context(probes.work("first", on_abandon=back.append))

        async def go_on() -> None:
            await anyio.sleep(0.05)
            with probes.work("second", on_abandon=back.append):
                first.__exit__()
                await anyio.sleep(0.1)

        ending = anyio.Event()
        tasks.start_soon(go_on)
        await probes.service.stopped()
        ending.set()
        assert probes.in_flight["jobs"] == 0
    assert back == []


@anyio_test
async def test_a_cancelled_end_gives_back_at_once(unfinished: ExitStack) -> None:
    """Whoever insists is not kept waiting, and no job is lost for it."""
    probes = make_probes(linger=600)
    back: list[str] = []
    with anyio.CancelScope() as scope:
        async with probes.lifespan():
            unfinished.enter_context(probes.work("a", on_abandon=back.append))
            scope.cancel()
            await anyio.sleep(10)
    assert back == ["a"]
    async with probes.lifespan():  # it may begin anew
        pass


@anyio_test
async def test_what_has_no_time_left_is_given_back_at_once(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """Linger is counted from the hand-over of the signal."""
    probes = make_probes(linger=600)
    back: list[str] = []
    async with probes.lifespan():
        unfinished.enter_context(probes.work("a", on_abandon=back.append))
        probes.service.jobs.deadline = probes.service.clock.monotonic()
    assert back == ["a"]
    assert said(log, "the application ends") == []


# -- on_abandon ---------------------------------------------------------------------------------


def test_one_that_raises_harms_no_other(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises is logged with its traceback and the job."""
    probes = make_probes()
    back: list[str] = []

    def fail(job: str) -> None:
        raise SystemExit(job)

    unfinished.enter_context(probes.work("a", on_abandon=fail))
    unfinished.enter_context(probes.work("b", on_abandon=back.append))
    unfinished.enter_context(probes.work("c", on_abandon=partial(fail, "x")))  # which takes none
    give_back(probes)
    assert back == ["b"]
    failed = [each for each in log.records if "is not given back" in each.getMessage()]
    assert len(failed) == 2
    assert {each.levelname for each in failed} == {"ERROR"}
    assert "job a is not given back: tests.jobs.test_giving_back:" in log.text
    assert "SystemExit: a" in log.text
    assert "TypeError" in log.text


def test_one_that_yields_has_given_nothing_back(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """Nothing of a generator function has run, sync or async, and the log does not say it had."""
    probes = make_probes()

    def take(job: str) -> Iterator[str]:
        yield job

    async def take_too(job: str) -> AsyncIterator[str]:
        yield job

    unfinished.enter_context(probes.work("a", on_abandon=take))
    unfinished.enter_context(probes.work("b", on_abandon=take_too))
    give_back(probes)
    assert said(log, "has been given to") == []
    lines = sorted(said(log, "is not given back"))
    assert [line[:6] for line in lines] == ["job a ", "job b "]
    assert log.text.count("which nothing has run; return instead of yield") == 2


@anyio_test
async def test_an_async_one_that_raises_harms_no_other(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """SystemExit, which would end asyncio's loop, included."""
    probes = make_probes(linger=0)

    async def fail(job: str) -> None:
        await anyio.sleep(0.001)
        raise SystemExit(job)

    async with probes.lifespan():
        unfinished.enter_context(probes.work("a", on_abandon=fail))
    assert "job a is not given back: tests.jobs.test_giving_back:" in log.text
    assert "SystemExit: a" in log.text


@anyio_test
async def test_one_that_hangs_is_named_and_left(
    unfinished: ExitStack, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes in time; an async one is cancelled, a sync one goes on by itself."""
    monkeypatch.setattr(giving_back, "ABANDON", 0.3)
    probes = make_probes(linger=0)
    release, back, cancelled = threading.Event(), list[str](), list[str]()

    def hang(job: str) -> None:
        release.wait(20)
        back.append(job)

    async def hang_on_loop(job: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(job)

    async with probes.lifespan():
        unfinished.enter_context(probes.work("a", on_abandon=hang))
        unfinished.enter_context(probes.work("b", on_abandon=hang_on_loop))
        unfinished.enter_context(probes.work("c", on_abandon=back.append))
        began = time.monotonic()
    assert 0.3 <= time.monotonic() - began < 5
    assert back == ["c"]
    await until(lambda: cancelled == ["b"])
    [line] = said(log, "has not come back")
    assert line.startswith("on_abandon has not come back within 0.3 s, and nobody waits for it: ")
    assert "(test_one_that_hangs_is_named_and_left.<locals>.hang) with job a, " in line
    assert line.endswith(".hang_on_loop) with job b")
    release.set()
    await until(lambda: "job a has been given to on_abandon, late" in log.messages)


@anyio_test
async def test_one_that_blocks_the_loop_is_named_by_a_thread(
    unfinished: ExitStack, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop that would give up cannot, so somebody else says what to do about it."""
    monkeypatch.setattr(giving_back, "ABANDON", 0.1)
    monkeypatch.setattr(giving_back, "HELD", 0.1)
    probes = make_probes(linger=0)

    async def block(job: str) -> None:
        until = time.monotonic() + 10
        while not said(log, "held up") and time.monotonic() < until:
            pass

    async with probes.lifespan():
        unfinished.enter_context(probes.work("a", on_abandon=block))
    [line] = said(log, "the event loop is held up")
    assert "make it a plain def, which runs in a thread; not back within 0.1 s: tests." in line
    assert line.endswith(".block) with job a")


def test_a_loop_held_by_something_else_accuses_no_job(log: pytest.LogCaptureFixture) -> None:
    """The watchdog names what holds it."""
    make_probes().service.jobs.name_held()
    assert log.messages == []


def test_what_hangs_takes_no_thread_from_the_others(unfinished: ExitStack) -> None:
    """Up to a limit: beyond it there is one thread after the other."""
    probes = make_probes()
    release, back = threading.Event(), list[int]()

    def take(job: int) -> None:
        if job % 2:
            release.wait(20)
        back.append(job)

    for job in range(giving_back.SIDE_BY_SIDE + 20):
        unfinished.enter_context(probes.work(job, on_abandon=take))
    probes.service.jobs.abandon()
    even = (giving_back.SIDE_BY_SIDE + 20) // 2
    wait_until(lambda: len(back) == even, "all that do not hang")
    names = [each.name for each in threading.enumerate()]
    assert names.count("probekit:abandon") <= giving_back.SIDE_BY_SIDE
    release.set()
    wait_until(probes.service.jobs.given_back, "the others too")


def test_an_async_one_needs_the_loop(unfinished: ExitStack, log: pytest.LogCaptureFixture) -> None:
    """Where there is none, the log says what to do instead; no coroutine is left unawaited."""
    probes = make_probes()

    async def take(job: str) -> None:
        raise AssertionError

    class Awaitable:
        def __init__(self, job: str) -> None:
            pass

        def __await__(self) -> Any:
            raise AssertionError

    unfinished.enter_context(probes.work("a", on_abandon=take))
    unfinished.enter_context(probes.work("b", on_abandon=Awaitable))
    give_back(probes)
    assert len(said(log, "its on_abandon is async, and the application's event loop is not")) == 2


def test_without_on_abandon_a_job_is_named_all_the_same(
    unfinished: ExitStack, log: pytest.LogCaptureFixture
) -> None:
    """Its worker sees that nobody waits any more, and the operator what was lost."""
    probes = make_probes()
    work = unfinished.enter_context(probes.work("a"))
    probes.service.traffic.jobs["foreign"] = {"method": "job", "path": "x"}, 0.0
    give_back(probes)
    assert work.abandoned
    [line] = said(log, "abandoned after")
    assert line.endswith(": job a; nobody takes it: declare @probes.on_abandon")
    assert probes.in_flight["jobs"] == 1  # what nobody began here is not ours to give away


def test_it_is_said_where_the_system_grants_no_thread(
    unfinished: ExitStack, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs are named as not given back, and the application still ends."""
    probes = make_probes()
    back: list[str] = []
    unfinished.enter_context(probes.work("a", on_abandon=back.append))

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        probes.service.jobs.abandon()
    probes.service.jobs.give_up()
    assert said(log, "no thread could be started to call on_abandon")
    assert said(log, "has not come back")
    assert back == []


def test_a_forked_child_has_no_jobs(unfinished: ExitStack) -> None:
    """They are its parent's, which gives them back; the child does not, nor does it end them."""
    probes = make_probes()
    work = unfinished.enter_context(probes.work("a"))
    probes.service.traffic.blocks["loop"] = {}, 0.0
    for each in (probes.service, probes.service.jobs):
        each.renew()
    assert probes.service.traffic.idle()
    assert not work.abandoned
