"""The steps of leaving: in order, each once, awaited from any loop and thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import DrainStep
from probekit.asgi import ProbeMiddleware
from tests.doors._apps import LifespanRun, hello
from tests.waiting import until, wait_until
from tests.web._asking import ask, make_probes

from ._signals import DELAY, StandIn, sigterm

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

ORDER = [*DrainStep]


def reached(probes: Probes) -> list[DrainStep]:
    """Return the steps that the drain has come to."""
    return [step for step in ORDER if probes.service.steps.reached(step)]


def count_of(probes: Probes) -> list[DrainStep]:
    """Declare a hook for each step on ``probes`` and return where they note their step."""
    ran: list[DrainStep] = []

    def note(step: DrainStep) -> Callable[[], None]:
        return lambda: ran.append(step)

    for step in ORDER:
        probes.on_drain(note(step), step=step)
    return ran


def test_the_steps_have_an_order_and_names_for_people() -> None:
    """What users read in logs and write in code."""
    assert [(step.name, step.value) for step in DrainStep] == [
        ("BEGUN", "begun"),
        ("TOLD", "told"),
        ("QUIET", "quiet"),
        ("HANDED_OVER", "handed over"),
        ("DONE", "done"),
        ("CLOSED", "closed"),
    ]


@pytest.mark.parametrize("step", ORDER)
def test_a_step_implies_those_before_it(step: DrainStep) -> None:
    """Those that nobody could see count as reached, and their hooks run once, too."""
    probes = make_probes()
    ran = count_of(probes)
    expected = ORDER[: ORDER.index(step) + 1]
    assert reached(probes) == []
    for _ in range(3):
        probes.service.steps.reach(step)
        assert reached(probes) == expected
    wait_until(lambda: len(ran) >= len(expected), "the hooks have run")
    assert sorted(ran, key=ORDER.index) == expected


def test_a_step_that_is_behind_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody goes back, and nothing is logged twice."""
    caplog.set_level(logging.INFO, "probekit")
    steps = make_probes().service.steps
    steps.reach(DrainStep.QUIET, "it is quiet")
    steps.reach(DrainStep.TOLD, "too late")
    steps.reach(DrainStep.QUIET, "again")
    assert [record.message for record in caplog.records] == ["drain: quiet: it is quiet"]
    assert steps.reached(DrainStep.QUIET)
    assert not steps.reached(DrainStep.HANDED_OVER)


def test_an_ended_drain_starts_over() -> None:
    """The next one reaches its steps anew, and its hooks run again."""
    probes = make_probes()
    ran = count_of(probes)
    for times in (1, 2):
        probes.drain()
        probes.drain(reason="renewed")
        assert reached(probes) == [DrainStep.BEGUN]
        probes.undrain()
        assert reached(probes) == []
        wait_until(lambda: len(ran) >= times, "the hook has run")  # noqa: B023 - waited for here
    assert ran == [DrainStep.BEGUN] * 2


def test_a_step_is_reached_once_however_many_threads_come_to_it() -> None:
    """Each hook runs once."""
    for _ in range(20):
        probes = make_probes()
        ran = count_of(probes)
        start = threading.Barrier(4)

        def come() -> None:
            start.wait(5)  # noqa: B023 - the threads are joined below
            probes.service.steps.reach(DrainStep.QUIET)  # noqa: B023

        threads = [threading.Thread(target=come) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        wait_until(lambda: len(ran) >= 3, "the hooks have run")  # noqa: B023 - waited for here
        assert sorted(ran, key=ORDER.index) == ORDER[:3]


# -- waiting ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_who_waits_is_woken_at_the_step_and_not_before() -> None:
    """Several tasks for one step, one for another, woken from another thread."""
    probes = make_probes()
    woken: list[str] = []

    async def wait(step: DrainStep, name: str) -> None:
        await probes.wait_for(step)
        woken.append(name)

    def elsewhere(step: DrainStep) -> None:
        thread = threading.Thread(target=probes.service.steps.reach, args=(step,))
        thread.start()
        thread.join(5)

    async with anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(wait, DrainStep.BEGUN, name)
        tasks.start_soon(wait, DrainStep.DONE, "done")
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        elsewhere(DrainStep.BEGUN)
        await until(lambda: len(woken) == 3)
        elsewhere(DrainStep.HANDED_OVER)
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b", "c"]
        elsewhere(DrainStep.CLOSED)
    assert woken[3:] == ["done"]
    assert probes.service.steps._waiting == []


@pytest.mark.anyio
async def test_who_waits_for_a_step_that_was_reached_goes_on_at_once() -> None:
    """Without a look at the clock or another task."""
    probes = make_probes()
    probes.drain()
    with anyio.fail_after(0):
        await probes.wait_for(DrainStep.BEGUN)


@pytest.mark.anyio
async def test_a_drain_by_hand_begins_and_goes_no_further() -> None:
    """The steps after the first follow SIGTERM only."""
    probes = make_probes()
    probes.drain()
    await probes.wait_for(DrainStep.BEGUN)
    with anyio.move_on_after(0.05) as scope:
        await probes.wait_for(DrainStep.TOLD)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    """Neither an entry nor a wake-up that could disturb somebody."""
    probes = make_probes()
    for _ in range(5):
        with anyio.move_on_after(0.01):
            await probes.wait_for(DrainStep.DONE)
    assert probes.service.steps._waiting == []
    probes.service.steps.reach(DrainStep.DONE)
    await probes.wait_for(DrainStep.DONE)


@pytest.mark.anyio
async def test_a_waiter_that_is_cancelled_while_it_is_woken_is_no_trouble() -> None:
    """The wake-up comes too late, and is dropped."""
    probes = make_probes()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probes.wait_for, DrainStep.BEGUN)
        await anyio.wait_all_tasks_blocked()
        probes.service.steps.reach(DrainStep.BEGUN)
        tasks.cancel_scope.cancel()
    await anyio.wait_all_tasks_blocked()
    assert probes.service.steps._waiting == []


@pytest.mark.anyio
async def test_a_waiter_survives_a_drain_that_is_ended() -> None:
    """It waits for the step itself, in this drain or in another."""
    probes = make_probes()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probes.wait_for, DrainStep.TOLD)
        await anyio.wait_all_tasks_blocked()
        probes.drain()
        probes.undrain()
        await anyio.wait_all_tasks_blocked()
        assert len(probes.service.steps._waiting) == 1
        probes.service.steps.reach(DrainStep.TOLD)
    assert probes.service.steps._waiting == []


def test_waiters_on_several_loops_are_woken_each_on_its_own() -> None:
    """Though they live in different threads."""
    probes = make_probes()
    woken: list[str] = []

    def run(backend: str) -> None:
        async def main() -> None:
            await probes.wait_for(DrainStep.BEGUN)
            woken.append(backend)

        anyio.run(main, backend=backend)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("asyncio", "trio")]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(probes.service.steps._waiting) == 2, "both wait")
    probes.drain()
    for thread in threads:
        thread.join(5)
    assert sorted(woken) == ["asyncio", "trio"]


def test_a_loop_that_cannot_be_woken_keeps_no_other_from_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the hooks, nor whoever drains; the log has the traceback."""
    probes = make_probes()
    woken: list[str] = []
    loop = asyncio.new_event_loop()
    steps = probes.service.steps

    async def wait(name: str) -> None:
        await probes.wait_for(DrainStep.BEGUN)
        woken.append(name)

    async def main() -> None:
        await probes.report()  # which makes the loop the application's
        with suppress(asyncio.CancelledError):
            await wait("broken")

    async def hook() -> None:
        raise AssertionError

    def refuse(*_: object, **__: object) -> None:
        raise OSError("the loop's pipe is gone")

    probes.on_drain(hook)
    task = loop.create_task(main())
    first = threading.Thread(target=loop.run_until_complete, args=(task,))
    first.start()
    wait_until(lambda: len(steps._waiting) == 1, "the first waits")
    second = threading.Thread(target=anyio.run, args=(wait, "sound"))
    second.start()
    wait_until(lambda: len(steps._waiting) == 2, "both wait")
    ran: list[str] = []
    probes.on_drain(lambda: ran.append("hook"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", refuse)
        probes.drain()
        probes.on_drain(hook)  # too late to wait, and it fails no better
    second.join(5)
    wait_until(lambda: bool(ran), "the other hook has run")
    assert woken == ["sound"]
    failed = [record.message for record in caplog.records if "could not be begun" in record.message]
    assert [line.split(" (")[0].split(":")[0] for line in failed] == [
        f"on_drain hook {__name__}",
        "a wake-up of wait_for could not be begun; the drain goes on without it",
        f"on_drain hook {__name__}",
    ]
    assert "OSError: the loop's pipe is gone" in caplog.text
    loop.call_soon_threadsafe(task.cancel)
    first.join(5)
    loop.close()


@pytest.mark.anyio
async def test_what_is_no_step_cannot_be_waited_for() -> None:
    """The text has the value and the steps that there are."""
    from probekit import ConfigurationError

    nonsense: Any = "over"
    with pytest.raises(ConfigurationError, match="step must be one of"):
        await make_probes().wait_for(nonsense)


# -- all of them --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_process_that_leaves_comes_to_every_step_in_order(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """From SIGTERM through the server's shutdown to the end of the lifespan; told once each."""
    caplog.set_level(logging.INFO, "probekit")
    probes = make_probes(
        drain_delay=30, drain_until="quiet", seen_503=2, quiet_for=DELAY, drain_max=30
    )
    app = ProbeMiddleware(hello, probes=probes)
    ran = count_of(probes)
    seen: list[tuple[list[DrainStep], int]] = []

    async def while_up() -> None:
        await ask(app, "/")
        sigterm()
        assert probes.draining is not None
        await probes.wait_for(DrainStep.BEGUN)
        for _ in range(2):
            await ask(app, "/readyz")
        for step in ORDER[1:-1]:
            await probes.wait_for(step)
            seen.append((reached(probes), len(server.signals)))
        await until(lambda: bool(server.signals))

    run = await LifespanRun(app).run(while_up)
    assert run.error is None
    for steps, _ in seen:
        assert steps == ORDER[: len(steps)]
    assert seen[0] == (ORDER[:2], 0)  # told, and the signal is still held back
    assert DrainStep.CLOSED not in seen[-1][0]
    assert reached(probes) == ORDER
    await until(lambda: len(ran) == len(ORDER))
    assert sorted(ran, key=ORDER.index) == ORDER
    told = [record.message for record in caplog.records if record.message.startswith("drain: ")]
    assert [line.split(": ")[1] for line in told] == ORDER[1:]
    assert told[0].startswith("drain: told: a prober has seen 503 twice, the last request came ")
    assert told[0].endswith(" s after SIGTERM")
    assert told[2].startswith("drain: handed over: to the handler tests.lifecycle._signals.StandIn")
    assert told[3].endswith(" s after the hand-over")
    assert told[4] == "drain: closed: the application's lifespan has ended"
    assert len(server.signals) == 1


@pytest.mark.anyio
async def test_an_application_that_ends_without_a_signal_comes_to_no_step() -> None:
    """A reload, a test client or Ctrl-C is no drain."""
    probes = make_probes(drain_delay=30)
    ran = count_of(probes)
    run = await LifespanRun(ProbeMiddleware(hello, probes=probes)).run()
    assert run.error is None
    assert reached(probes) == []
    assert ran == []


@pytest.mark.anyio
async def test_an_application_that_ends_before_the_hand_over_is_not_said_to_be_closed(
    server: StandIn,
) -> None:
    """Ctrl-C amid the drain ends it; the steps after SIGTERM's hand-over are not reached."""
    probes = make_probes(drain_delay=30)

    async def while_up() -> None:
        sigterm()
        await probes.wait_for(DrainStep.BEGUN)

    await LifespanRun(ProbeMiddleware(hello, probes=probes)).run(while_up)
    assert reached(probes) == [DrainStep.BEGUN]
    assert server.signals == []
