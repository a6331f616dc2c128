"""One `Probes` and several event loops: after each other, at once, and at their end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import uvloop

from probekit import Probe, Probes, Report, Status
from probekit._core.loops import current_loop
from tests.core.helpers import Hung, Recorder, Script, ask, stubborn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.fake_time import FakeClock

KINDS = ["asyncio", "uvloop", "trio"]


async def hang() -> None:
    """Never end."""
    await anyio.sleep_forever()


def run_for_real(kind: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run ``main`` on a loop of that kind, in real time."""
    options = {"use_uvloop": kind == "uvloop"} if kind != "trio" else {}
    return anyio.run(main, backend="trio" if kind == "trio" else "asyncio", backend_options=options)


# -- one after the other ----------------------------------------------------------------------


@pytest.mark.parametrize("second", KINDS)
def test_the_next_loop_takes_over(second: str, probes: Probes, clock: FakeClock) -> None:
    """After asyncio has ended, any other loop may ask."""
    check = Script({"rows": 3})
    probes.readiness(check, max_age=0)
    probes.readiness(Script(None), name="background", interval=10, initial_delay=1)

    async def main() -> Report:
        await probes.report()
        await anyio.sleep(25)
        return await probes.report()

    for kind in ("asyncio", second, second):
        report = clock.run(kind, main)
        assert report.status is Status.HEALTHY
        assert report.checks["background"].age(clock.monotonic()) == pytest.approx(4)
    assert check.runs == 6


@pytest.mark.parametrize(("first", "second"), [("asyncio", "trio"), ("trio", "asyncio")])
def test_an_async_run_of_a_dead_loop_is_forgotten(
    first: str, second: str, probes: Probes, clock: FakeClock
) -> None:
    """Its task died with its loop, so the next loop starts another."""
    check = Script(1.5, 0.1)
    probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    assert clock.run(first, main).status is Status.UNHEALTHY
    clock.advance(2)
    assert clock.run(second, main).status is Status.HEALTHY
    assert check.runs == 2


@pytest.mark.parametrize("second", KINDS)
def test_a_run_of_a_loop_that_was_closed_under_it_is_forgotten(
    second: str, probes: Probes, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Some applications end a loop without ending its tasks; the next loop starts another run."""
    check = Script(3600, {"rows": 3})
    probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    loop = clock.backend("asyncio")[1]["loop_factory"]()
    assert loop.run_until_complete(main()).status is Status.UNHEALTHY
    loop.close()
    clock.advance(2)
    assert clock.run(second, main).status is Status.HEALTHY
    gc.collect()  # asyncio complains of the task when it is collected, which is not ours to hide
    assert all(record.name == "asyncio" for record in caplog.records)
    assert check.runs == 2


def test_a_loop_that_is_interrupted_and_goes_on_keeps_its_runs(
    probes: Probes, clock: FakeClock
) -> None:
    """Between two run() of one Runner the loop does not turn, and nothing is lost."""
    check = Script(3)
    probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    async def wait() -> None:
        await asyncio.sleep(2.5)

    factory = clock.backend("asyncio")[1]["loop_factory"]
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()).status is Status.UNHEALTHY
        assert runner.run(main()).status is Status.UNHEALTHY
        runner.run(wait())
        assert runner.run(main()).status is Status.HEALTHY
    assert check.runs == 1


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_a_thread_outlives_its_loop(
    first: str, second: str, probes: Probes, clock: FakeClock
) -> None:
    """Never two threads for one check: the next loop waits for the same run."""
    check = Hung()
    probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    assert clock.run(first, main).status is Status.UNHEALTHY
    thread = check.thread()
    report = clock.run(second, main)
    assert report.checks["hung"].message == "timed out after 0.8 s, still running for 0.8 s"
    assert check.threads == [thread]

    async def come_back() -> Report:
        recorder = Recorder()
        probes.observe(recorder)
        report = await probes.report()
        assert not report.passing
        with clock.hold():
            check.go_on.set()
            await recorder.next_result()
        return probes.peek()

    assert clock.run(second, come_back).status is Status.HEALTHY
    assert check.threads == [thread]


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_a_thread_that_came_back_between_two_loops_is_heard(
    first: str, second: str, probes: Probes, clock: FakeClock
) -> None:
    """Its outcome waits for the next loop that asks."""
    check = Hung()
    probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    clock.run(first, main)
    thread = check.thread()
    check.go_on.set()
    done = threading.Event()
    probes.service.engine.states[Probe.READINESS]["hung"].thread.submit(done.set)
    assert done.wait(10)
    assert clock.run(second, main).status is Status.HEALTHY
    assert check.threads == [thread]


def test_a_thread_that_came_back_after_the_lifespan_is_heard(
    probes: Probes, clock: FakeClock
) -> None:
    """Its outcome waits for the next loop, though the thread itself has ended."""
    check = Hung()
    probes.readiness(check)

    async def serve() -> None:
        async with probes.lifespan():
            await probes.report()

    async def main() -> Report:
        return await probes.report()

    clock.run("asyncio", serve)
    thread = check.thread()
    check.go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    duration = clock.run("asyncio", main).checks["hung"].duration
    assert duration == pytest.approx(0.8, abs=0.01)
    assert check.threads == [thread]


def test_a_run_that_is_waited_for_when_its_loop_ends_is_joined_on_the_next(
    probes: Probes, clock: FakeClock
) -> None:
    """A thread within its timeout is waited for on."""
    check = Hung()
    probes.readiness(check, timeout=60)

    async def leave() -> None:
        with anyio.move_on_after(0.1):
            await probes.report()

    async def main() -> Report:
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await anyio.sleep(1)
                check.go_on.set()

            group.start_soon(let_go)
            with anyio.fail_after(70):
                while not check.go_on.is_set():
                    await anyio.sleep(0.1)
            with clock.hold():
                return await probes.report()
        raise AssertionError

    clock.run("asyncio", leave)
    thread = check.thread()
    assert clock.run("asyncio", main).status is Status.HEALTHY
    assert check.threads == [thread]


# -- two at once ------------------------------------------------------------------------------


class Elsewhere:
    """An event loop in another thread, on which the probes live."""

    def __init__(self, kind: str, probes: Probes) -> None:
        self.kind = kind
        self.probes = probes
        self.settled = threading.Event()
        self.end = threading.Event()
        self.stand_still = threading.Event()
        self.standing = threading.Event()
        self.go_on = threading.Event()
        self.thread = threading.Thread(target=run_for_real, args=(kind, self.main), daemon=True)

    async def main(self) -> None:
        """Settle here, and turn until told to end."""
        await self.probes.report()
        self.settled.set()
        while not self.end.is_set():
            await anyio.sleep(0.01)
            if self.stand_still.is_set():
                self.standing.set()
                self.go_on.wait(10)
                self.stand_still.clear()
                await anyio.sleep(0.01)

    def __enter__(self) -> Elsewhere:
        """Start it."""
        self.thread.start()
        assert self.settled.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.end.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture(params=KINDS)
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    """Probes that live on a loop in another thread."""
    with Elsewhere(request.param, Probes(observers=[])) as there:
        yield there


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_loop_has_its_checks_run_on_the_first(kind: str, elsewhere: Elsewhere) -> None:
    """An engine lives on one loop; who asks from another thread waits for that one."""
    threads: list[threading.Thread] = []

    async def check() -> dict[str, int]:
        threads.append(threading.current_thread())
        await anyio.sleep(0.01)
        return {"rows": 3}

    elsewhere.probes.readiness(check, timeout=5, max_age=3600)

    async def main() -> Report:
        await elsewhere.probes.report()
        return await elsewhere.probes.report()

    report = run_for_real(kind, main)
    assert report.status is Status.HEALTHY
    assert report.checks["check"].detail == {"rows": 3}
    assert threads == [elsewhere.thread]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_loop_waits_for_a_blocked_first_no_longer_than_the_timeout(
    kind: str, elsewhere: Elsewhere
) -> None:
    """While the first stands still the second answers, with what is known."""
    elsewhere.probes.readiness(hang, timeout=0.1)
    elsewhere.stand_still.set()
    assert elsewhere.standing.wait(10)

    async def main() -> Report:
        return await elsewhere.probes.report()

    report = run_for_real(kind, main)
    assert elsewhere.stand_still.is_set()  # it stands still to this moment
    elsewhere.go_on.set()
    assert report.checks["hang"].message == "not yet run"
    assert report.status is Status.UNKNOWN


def test_a_second_loop_does_not_start_the_background_checks_again(elsewhere: Elsewhere) -> None:
    """A start() on another loop leaves them where they are."""
    ran = threading.Event()
    threads: list[threading.Thread] = []

    async def check() -> None:
        threads.append(threading.current_thread())
        ran.set()

    async def main() -> None:
        elsewhere.probes.service.engine.start()

    elsewhere.probes.readiness(check, interval=60, initial_delay=0)
    assert ran.wait(10)
    run_for_real("asyncio", main)
    ran.clear()
    elsewhere.probes.readiness(check, name="later", interval=60, initial_delay=0)
    assert ran.wait(10)
    assert threads == [elsewhere.thread] * 2


def test_a_second_loop_does_not_stop_the_background_checks(elsewhere: Elsewhere) -> None:
    """A stop() on another loop leaves them where they are."""
    ran = threading.Semaphore(0)

    async def check() -> None:
        ran.release()

    async def main() -> None:
        await elsewhere.probes.service.engine.stop()

    elsewhere.probes.readiness(check, interval=0.1, timeout=0.1, initial_delay=0)
    assert ran.acquire(timeout=10)
    run_for_real("asyncio", main)
    while ran.acquire(blocking=False):
        pass
    assert all(ran.acquire(timeout=2) for _ in range(2))


def test_a_first_loop_that_ended_leaves_the_second_its_answer(clock: FakeClock) -> None:
    """The engine moves as soon as the first loop is gone."""
    probes = Probes(observers=[])
    check = Script(None)
    with Elsewhere("asyncio", probes):
        probes.readiness(check)

    async def main() -> Report:
        return await probes.report()

    assert run_for_real("trio", main).status is Status.HEALTHY
    assert check.runs == 1


# -- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [hang, stubborn, Script(0.5)], ids=["hang", "stubborn", "slow"])
@pytest.mark.parametrize("overdue", [True, False], ids=["overdue", "in time"])
def test_a_loop_ends_with_a_run_under_way(
    check: Callable[[], Awaitable[None]],
    overdue: bool,
    probes: Probes,
    clock: FakeClock,
    loop_kind: str,
) -> None:
    """Both asyncio.run and trio.run cancel what is left and wait; no check keeps them for long."""
    options: Any = {"name": "check"}
    probes.readiness(check, **options)

    async def main() -> float:
        with anyio.move_on_after(2 if overdue else 0.1):
            await probes.report()
        return clock.monotonic()

    ended = clock.run(loop_kind, main)
    assert clock.monotonic() - ended <= 3.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_ends_with_a_thread_under_way(kind: str, probes: Probes, clock: FakeClock) -> None:
    """Nobody waits for it."""
    check = Hung()
    probes.readiness(check)

    async def main() -> float:
        await probes.report()
        return clock.monotonic()

    ended = clock.run(kind, main)
    assert clock.monotonic() == ended
    check.go_on.set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_is_asked_as_it_ends_ends_well(kind: str) -> None:
    """What another loop hands to it at the last moment is left undone, and breaks nothing."""
    for _ in range(40 if kind == "trio" else 2):  # trio ends in a random order of steps
        probes = Probes(observers=[])
        probes.readiness(hang, timeout=0.01)
        queued = threading.Event()
        found: list[Report] = []
        asker = threading.Thread(target=asyncio.run, args=[ask_and_tell(probes, queued, found)])

        async def main(
            probes: Probes = probes,
            asker: threading.Thread = asker,
            queued: threading.Event = queued,
        ) -> None:
            await probes.report(Probe.LIVENESS)
            asker.start()
            assert queued.wait(10)

        try:
            run_for_real(kind, main)
        finally:
            asker.join(10)
        assert not found[0].passing


async def ask_and_tell(probes: Probes, queued: threading.Event, found: list[Report]) -> None:
    """Ask for readiness, and tell when the question is on its way."""
    task = asyncio.create_task(probes.report())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queued.set()
    found.append(await task)


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_process_ends_with_a_stubborn_check_and_no_lifespan(kind: str) -> None:
    """In real time, too, and with nobody who stops the engine."""
    program = f"""
        import anyio
        from probekit import Probes

        probes = Probes(observers=[])

        @probes.readiness(timeout=0.05)
        async def stubborn():
            while True:
                try:
                    await anyio.sleep(3600)
                except anyio.get_cancelled_exc_class():
                    pass

        async def main():
            print((await probes.report()).status)

        anyio.run(main, backend={kind!r})
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "unhealthy\n"), done.stderr


# -- real time --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_works_in_real_time_as_in_fake(kind: str) -> None:
    """The clocks of the machine, a real loop, and a check that hangs."""
    probes = Probes(observers=[])
    hung = Hung()
    probes.readiness(hang, timeout=0.05)
    probes.readiness(hung, timeout=0.05)
    probes.readiness(Script({"rows": 3}), timeout=5)

    async def main() -> tuple[float, Report]:
        before = anyio.current_time()
        await probes.report()
        took = anyio.current_time() - before
        return took, await probes.report()

    took, report = run_for_real(kind, main)
    hung.go_on.set()
    assert 0.045 < took < 5
    statuses = {name: result.status for name, result in report.checks.items()}
    assert statuses == {
        "hang": Status.UNHEALTHY,
        "hung": Status.UNHEALTHY,
        "script": Status.HEALTHY,
    }
    assert "still running for 0." in str(report.checks["hang"].message)


def test_there_must_be_a_loop() -> None:
    """Without one there is nothing to run on."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        current_loop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_knows_whether_it_turns(kind: str) -> None:
    """It is current on its own thread, turns while it does, and takes no calls after its end."""

    async def main() -> Any:
        loop = current_loop()
        assert loop.is_current()
        assert loop.is_running()
        assert loop.call_threadsafe(lambda: None)
        return loop

    loop = run_for_real(kind, main)
    assert not loop.is_current()
    assert not loop.is_running()
    assert not loop.call_threadsafe(lambda: None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_another_process_neither_turns_nor_takes_calls(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forked child has the object, and what it writes to it the parent would read."""
    called: list[int] = []

    async def main() -> None:
        loop = current_loop()
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: 4711)
            assert not loop.is_running()
            assert not loop.call_threadsafe(lambda: called.append(1))
        await anyio.sleep(0.01)

    run_for_real(kind, main)
    assert called == []


def test_a_loop_of_another_kind_is_not_current() -> None:
    """A run of trio is none of asyncio's loops, nor is another run of trio."""

    async def main() -> Any:
        return current_loop()

    loops = [run_for_real(kind, main) for kind in KINDS]

    async def look() -> list[bool]:
        return [loop.is_current() for loop in loops]

    assert trio.run(look) == [False] * 3
    assert uvloop.run(look()) == [False] * 3


@pytest.mark.anyio
async def test_a_waiter_may_be_set_twice() -> None:
    """The second time changes nothing, nor does it when nobody waits any more."""
    loop = current_loop()
    waiter = loop.waiter()
    waiter.set()
    waiter.set()
    await waiter.wait()
    given_up = loop.waiter()
    with anyio.move_on_after(0.1) as scope:
        await given_up.wait()
    given_up.set()
    assert scope.cancelled_caught


@pytest.mark.anyio
@pytest.mark.parametrize("loop_kind", ["asyncio"])
async def test_an_application_with_an_eager_task_factory_is_served(
    probes: Probes,
) -> None:
    """Tasks are made past it."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("needs asyncio of Python 3.12")
    asyncio.get_running_loop().set_task_factory(factory)
    probes.readiness(Script(0.1))
    assert (await ask(probes)).status is Status.HEALTHY
