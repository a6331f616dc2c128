"""The threads of sync checks: at most one each, kept, and never in the way of the exit."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from probekit import Probes, Status
from probekit._core.threads import CheckThread
from tests.core.helpers import Hung, Recorder, Script, ask

if TYPE_CHECKING:
    from tests.fake_time import FakeClock


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that must end by itself within ten seconds."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


def own_threads() -> list[threading.Thread]:
    """Return the threads that checks have."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("probekit:")]


@pytest.mark.anyio
async def test_a_hung_check_costs_one_thread_over_200_probes(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """Once, and for ever; the other checks go on with theirs."""
    check = Hung()
    ran: list[threading.Thread] = []
    before = set(own_threads())
    probes.readiness(check, max_age=0)
    probes.readiness(lambda: ran.append(threading.current_thread()), name="other", max_age=0)
    for _ in range(200):
        report = await probes.report()
        assert report.checks["hung"].status is Status.UNHEALTHY
        await anyio.sleep(1)
    thread = check.thread()
    assert check.threads == [thread]
    with clock.hold():
        check.go_on.set()
        while recorder.results[-1].status is not Status.HEALTHY or not ran:
            await recorder.next_result()
    assert len(set(ran)) == 1
    assert set(own_threads()) - before == {thread, *ran}


@pytest.mark.anyio
async def test_a_thread_serves_every_run_of_its_check(probes: Probes, clock: FakeClock) -> None:
    """It is made once, named after the check, and daemonic."""
    threads: list[threading.Thread] = []
    probes.readiness(lambda: threads.append(threading.current_thread()), name="disk", max_age=0)
    with clock.hold():
        for _ in range(20):
            assert (await ask(probes)).status is Status.HEALTHY
    assert len(threads) == 20
    (thread,) = set(threads)
    assert (thread.name, thread.daemon) == ("probekit:disk", True)


@pytest.mark.anyio
async def test_each_check_has_a_thread_of_its_own(probes: Probes, clock: FakeClock) -> None:
    """Two sync checks wait for each other in vain on one thread, and meet on two."""
    barrier = threading.Barrier(2, timeout=10)

    def meet() -> None:
        barrier.wait()

    probes.readiness(meet, name="one")
    probes.readiness(meet, name="two")
    with clock.hold():
        assert (await probes.report()).status is Status.HEALTHY


@pytest.mark.anyio
async def test_the_threads_end_with_the_lifespan(probes: Probes, clock: FakeClock) -> None:
    """What is not needed any more goes."""
    threads: list[threading.Thread] = []
    probes.readiness(lambda: threads.append(threading.current_thread()), name="disk")
    with clock.hold():
        async with probes.lifespan():
            await probes.report()
    threads[0].join(10)
    assert not threads[0].is_alive()


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A system that grants no check a thread, until it is undone."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("probekit:disk"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


@pytest.mark.anyio
async def test_a_check_without_a_thread_fails_and_runs_again(
    probes: Probes, clock: FakeClock, recorder: Recorder, no_thread: pytest.MonkeyPatch
) -> None:
    """The other checks are answered meanwhile, and nothing is left of it when there is one."""
    probes.readiness(lambda: None, name="disk", max_age=0)
    probes.readiness(Script(None), name="other", max_age=0)
    for _ in range(2):
        report = await probes.report()
        result = report.checks["disk"]
        assert (result.status, result.message) == (Status.UNHEALTHY, "no thread could be started")
        assert report.checks["other"].status is Status.HEALTHY
    assert [str(error) for error in recorder.errors if error] == ["can't start new thread"] * 2
    no_thread.undo()
    with clock.hold():
        assert (await ask(probes, name="disk")).status is Status.HEALTHY


@pytest.mark.anyio
async def test_a_background_check_without_a_thread_does_not_end_the_application(
    probes: Probes, recorder: Recorder, no_thread: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """It fails, and its next run is when it was to be."""
    probes.readiness(lambda: None, name="disk", interval=5, initial_delay=1)
    async with probes.lifespan():
        assert (await recorder.next_result()).status is Status.UNHEALTHY
        no_thread.undo()
        await anyio.sleep(4.9)
        assert len(recorder.results) == 1
        await anyio.sleep(0.2)
        with clock.hold():
            while len(recorder.results) == 1:
                await recorder.next_result()
    assert recorder.results[-1].status is Status.HEALTHY


def test_stop_ends_the_thread_and_submit_makes_another() -> None:
    """A thread that was told to end finishes what it was given."""
    thread = CheckThread("one")
    thread.stop()
    seen: list[threading.Thread] = []
    done = threading.Semaphore(0)

    def job() -> None:
        seen.append(threading.current_thread())
        done.release()

    for _ in range(2):
        thread.submit(job)
        assert done.acquire(timeout=10)
        thread.stop()
        seen[-1].join(10)
        assert not seen[-1].is_alive()
    assert seen[0] is not seen[1]


def test_a_job_is_not_kept_until_the_next() -> None:
    """What a check referred to is free when it has ended."""
    import weakref

    class Resource:
        pass

    resource = Resource()
    freed = threading.Event()
    weakref.finalize(resource, freed.set)
    thread = CheckThread("one")
    thread.submit(lambda resource=resource: None)  # type: ignore[misc]  # a default is no argument
    del resource
    assert freed.wait(10)
    thread.stop()


def test_the_process_exits_with_a_hung_check() -> None:
    """A thread that hangs for ever is left behind."""
    done = run_python(
        """
        import asyncio, threading
        from probekit import Probes

        probes = Probes()
        entered = threading.Event()

        @probes.readiness(timeout=0.05)
        def hung():
            entered.set()
            threading.Event().wait()

        async def main():
            async with probes.lifespan():
                report = await probes.report()
            assert entered.wait(5)
            print(report.status)

        asyncio.run(main())
        """
    )
    assert (done.returncode, done.stdout) == (0, "unhealthy\n"), done.stderr


def test_the_process_exits_with_a_check_that_swallows_everything() -> None:
    """A check that cannot even be closed is left behind too."""
    done = run_python(
        """
        import asyncio
        from probekit import Probes

        probes = Probes(observers=[])

        @probes.readiness(timeout=0.05)
        async def unkillable():
            while True:
                try:
                    await asyncio.sleep(3600)
                except:
                    pass

        async def main():
            async with probes.lifespan():
                print((await probes.report()).status)

        asyncio.run(main())
        """
    )
    assert (done.returncode, done.stdout) == (0, "unhealthy\n"), done.stderr


def test_after_a_fork_a_check_has_a_new_thread() -> None:
    """A child inherits the memory of a thread and not the thread."""
    done = run_python(
        """
        import asyncio, os, threading, warnings
        from probekit import Probes

        warnings.simplefilter("ignore")  # a process with threads is forked on purpose
        probes = Probes()
        names = []

        @probes.readiness(max_age=0, timeout=5)
        def disk():
            names.append((os.getpid(), threading.get_ident()))

        async def main():
            return (await probes.report()).status

        print(asyncio.run(main()), flush=True)
        child = os.fork()
        if not child:
            print(asyncio.run(main()), len({pid for pid, _ in names}), flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(asyncio.run(main()))
        """
    )
    assert (done.returncode, done.stdout) == (0, "healthy\nhealthy 2\nhealthy\n"), done.stderr


def test_a_check_that_was_running_at_a_fork_runs_again_in_the_child() -> None:
    """A child does not wait for ever for a thread of its parent's."""
    done = run_python(
        """
        import asyncio, os, threading, warnings
        from probekit import Probes

        warnings.simplefilter("ignore")
        probes = Probes(observers=[])
        parent = os.getpid()
        hang = threading.Event()

        @probes.readiness(max_age=0, timeout=0.1)
        def disk():
            if os.getpid() == parent:
                hang.wait()

        async def main():
            await probes.report()
            await asyncio.sleep(0.2)
            return (await probes.report()).status

        print(asyncio.run(main()), flush=True)
        child = os.fork()
        if not child:
            print(asyncio.run(main()), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert (done.returncode, done.stdout) == (0, "unhealthy\nhealthy\n"), done.stderr
