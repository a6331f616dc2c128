"""Runs that outlast their timeout: used when they come, given up when they do not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Probe, Probes, Status, Unhealthy
from tests.core.helpers import Hung, Recorder, Script, ask, stubborn, unkillable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio


async def hang() -> None:
    """Never end."""
    await anyio.sleep_forever()


async def test_a_late_result_is_used_when_it_comes(probes: Probes, recorder: Recorder) -> None:
    """A cold connection gets its chance: the run goes on, and nobody starts another."""
    check = Script(3.0)
    probes.readiness(check)
    assert (await ask(probes)).status is Status.UNHEALTHY
    await anyio.sleep(2.1)  # 2.9 s
    assert (await ask(probes)).message == "timed out after 0.8 s, still running for 2.9 s"
    await anyio.sleep(0.2)  # 3.1 s
    result = await ask(probes)
    assert result.status is Status.HEALTHY
    assert result.message is None
    assert result.duration == pytest.approx(3.0)
    assert check.runs == 1
    assert recorder.changes == [
        (Status.UNKNOWN, Status.UNHEALTHY),
        (Status.UNHEALTHY, Status.HEALTHY),
    ]


async def test_a_late_failure_is_used_as_well(probes: Probes) -> None:
    """What it says at last replaces "still running"."""

    @probes.readiness
    async def database() -> None:
        await anyio.sleep(2)
        raise OSError

    await probes.report()
    await anyio.sleep(1.3)
    assert (await ask(probes)).message == "OSError"


async def test_a_late_result_of_a_thread_is_used(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """A sync check that comes back after its timeout is healthy again."""
    check = Hung()
    probes.readiness(check)
    assert (await ask(probes)).status is Status.UNHEALTHY
    await anyio.sleep(3.3)
    assert (await ask(probes)).message == "timed out after 0.8 s, still running for 4.1 s"
    with clock.hold():
        check.go_on.set()
        await recorder.next_result()
    result = probes.peek().checks["hung"]
    assert result.status is Status.HEALTHY
    assert result.duration == pytest.approx(4.1)


async def test_a_hanging_run_counts_again_while_it_hangs(
    probes: Probes, recorder: Recorder
) -> None:
    """A failure threshold of 3 is reached by one run that hangs through three periods."""
    check = Script(1000)
    probes.readiness(check, failure_threshold=3, max_age=2)
    found = []
    for _ in range(8):
        result = await ask(probes)
        found.append((result.status, result.failures))
        await anyio.sleep(1)
    assert found == [
        (Status.UNKNOWN, 1),  # 0.8 s
        (Status.UNKNOWN, 1),
        (Status.UNKNOWN, 2),  # 2.8 s
        (Status.UNKNOWN, 2),
        (Status.UNHEALTHY, 3),  # 4.8 s
        (Status.UNHEALTHY, 3),
        (Status.UNHEALTHY, 4),
        (Status.UNHEALTHY, 4),
    ]
    assert [result.failures for result in recorder.results] == [1, 2, 3, 4]
    assert check.runs == 1


async def test_a_flood_does_not_hurry_the_count(probes: Probes) -> None:
    """However often it is asked, a hanging run counts once in a timeout at most."""
    probes.readiness(hang, failure_threshold=3, max_age=0, timeout=2)
    for _ in range(50):
        result = await ask(probes)
    assert (result.status, result.failures) == (Status.UNKNOWN, 1)


async def test_a_run_is_given_up_after_cancel_after(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It is cancelled, said so, and the next who asks starts another."""
    runs = cancelled = 0

    @probes.readiness(cancel_after=5)
    async def database() -> None:
        nonlocal runs, cancelled
        runs += 1
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled += 1
            raise

    start = clock.monotonic()
    await probes.report()
    assert (await recorder.next_result()).message == "given up after 5 s"
    assert clock.monotonic() - start == pytest.approx(5)
    result = probes.peek().checks["database"]
    assert result.status is Status.UNHEALTHY
    assert result.duration == pytest.approx(5)
    assert (runs, cancelled) == (1, 1)
    await anyio.sleep(1.1)
    assert (await ask(probes)).message == "timed out after 0.8 s, still running for 0.8 s"
    assert runs == 2


async def test_a_run_that_is_given_up_may_clean_up(probes: Probes, recorder: Recorder) -> None:
    """A moment is granted for a rollback, and what it returns then is not believed."""
    cleaned: list[str] = []

    @probes.readiness(cancel_after=5)
    async def database() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            cleaned.append("rolled back")

    await probes.report()
    result = await recorder.next_result()
    assert cleaned == ["rolled back"]
    assert result.message == "given up after 5 s"
    assert result.duration == pytest.approx(5.5)


@pytest.mark.parametrize("check", [stubborn, unkillable])
async def test_a_run_that_swallows_its_cancellation_is_abandoned(
    check: Callable[[], Awaitable[None]], probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It is driven no further, whatever it does, and the check is run anew."""
    options: Any = {"name": "stubborn", "cancel_after": 5}
    probes.readiness(check, **options)
    start = clock.monotonic()
    await probes.report()
    assert (await recorder.next_result()).message == "given up after 5 s"
    assert 5 <= clock.monotonic() - start <= 8.01
    await anyio.sleep(1.1)
    assert (await ask(probes)).message == "timed out after 0.8 s, still running for 0.8 s"


async def test_a_run_that_swallows_a_storm_of_cancellations_is_abandoned(probes: Probes) -> None:
    """A cancel scope of its own would wake it for ever; after a hundred times it is let go."""

    @probes.readiness(timeout=10)
    async def stormy() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stubborn()

    result = await ask(probes)
    assert result.status is Status.UNHEALTHY
    assert result.message == "Abandoned"


async def test_a_timeout_of_its_own_is_no_end(probes: Probes) -> None:
    """A check that stops waiting for one thing and goes on with another is left alone."""

    @probes.readiness(max_age=60)
    async def patient() -> None:
        with anyio.move_on_after(0.1):
            await anyio.sleep(3600)
        await anyio.sleep(10)

    await probes.report()
    await anyio.sleep(11)
    assert (await ask(probes)).status is Status.HEALTHY


def test_a_stubborn_run_with_a_task_group_is_abandoned(
    probes: Probes,
    clock: FakeClock,
    recorder: Recorder,
    loop_kind: str,
) -> None:
    """Its children may be lost, but neither the loop nor the process."""

    @probes.readiness(cancel_after=5)
    async def stubborn_with_children() -> None:
        for _ in range(10_000):  # not for ever, or this very process would not end
            with contextlib.suppress(BaseException):
                async with anyio.create_task_group():
                    await anyio.sleep(3600)

    async def main() -> None:
        await probes.report()
        assert (await recorder.next_result()).message == "given up after 5 s"

    clock.run(loop_kind, main)


async def test_a_shielded_run_is_abandoned(probes: Probes) -> None:
    """A check that hangs inside a shield is given up as well, and run anew."""
    end = anyio.Event()
    runs = 0

    @probes.readiness(cancel_after=5)
    async def shielded() -> None:
        nonlocal runs
        runs += 1
        with anyio.CancelScope(shield=True):
            await end.wait()

    await probes.report()
    await anyio.sleep(60)
    await probes.report()
    end.set()
    assert runs == 2


async def test_a_shielded_run_holds_the_end_up_for_a_moment_only(
    probes: Probes, clock: FakeClock
) -> None:
    """The lifespan of an application ends, whatever a check shields itself from."""
    end = anyio.Event()

    @probes.readiness
    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await end.wait()

    with anyio.CancelScope() as scope:
        async with probes.lifespan():
            await probes.report()
            before = clock.monotonic()
            scope.deadline = anyio.current_time() + 60
    end.set()
    assert clock.monotonic() - before <= 5


async def test_a_run_that_the_lifespan_ended_is_not_given_up_later(probes: Probes) -> None:
    """What was planned for it goes with it."""
    probes.readiness(hang, cancel_after=5)
    async with probes.lifespan():
        await probes.report()
        run = probes.service.engine.states[Probe.READINESS]["hang"].run
    assert run is not None
    ended = run.outcome
    assert ended is not None
    await anyio.sleep(60)
    assert run.outcome is ended


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_a_run_that_was_cancelled_before_it_is_given_up_ends_once(probes: Probes) -> None:
    """Whichever of the two comes to its end first takes the other's plan with it."""

    @probes.readiness(cancel_after=2)
    async def stubborn_suicide() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await stubborn()

    await probes.report()
    run = probes.service.engine.states[Probe.READINESS]["stubborn_suicide"].run
    assert run is not None
    await anyio.sleep(3)
    ended = run.outcome
    assert ended is not None
    await anyio.sleep(60)
    assert run.outcome is ended


async def test_a_thread_cannot_be_given_up(probes: Probes, clock: FakeClock) -> None:
    """It is waited for as long as it takes, and no second thread is started."""
    check = Hung()
    probes.readiness(check, cancel_after=5)
    await probes.report()
    await anyio.sleep(99.2)
    result = await ask(probes)
    assert result.message == "timed out after 0.8 s, still running for 100.0 s"
    assert check.thread().daemon
    check.go_on.set()


# -- on_error="keep" --------------------------------------------------------------------------


async def test_the_last_good_value_stands_while_the_check_cannot_run(probes: Probes) -> None:
    """It is marked stale, says why, and keeps its own age and detail."""
    probes.readiness(Script({"rows": 3}, OSError()), on_error="keep", max_age=1, stale_after=10)
    good = await ask(probes)
    await anyio.sleep(4)
    kept = await ask(probes)
    assert kept.status is Status.HEALTHY
    assert kept.stale
    assert kept.message == "OSError"
    assert kept.detail == {"rows": 3}
    assert kept.at == good.at
    assert kept.since == good.since
    assert (await probes.report()).status is Status.HEALTHY


async def test_a_kept_value_ends_at_stale_after(probes: Probes) -> None:
    """No result lives for ever."""
    probes.readiness(Script(None, OSError()), on_error="keep", max_age=1, stale_after=10)
    await ask(probes)
    found = []
    for _ in range(4):
        await anyio.sleep(3)
        result = await ask(probes)
        found.append((result.status, result.stale, result.message))
    assert found == [(Status.HEALTHY, True, "OSError")] * 3 + [(Status.UNHEALTHY, False, "OSError")]


async def test_a_kept_value_ends_even_if_nothing_is_run(probes: Probes) -> None:
    """What is only looked at grows old too."""
    probes.readiness(Script(None, OSError()), on_error="keep", max_age=60, stale_after=70)
    await ask(probes)
    await anyio.sleep(65)
    assert (await ask(probes)).stale
    await anyio.sleep(10)
    result = probes.peek().checks["script"]
    assert (result.status, result.stale, result.message) == (Status.UNHEALTHY, True, "OSError")


async def test_a_hanging_check_is_kept_too(probes: Probes) -> None:
    """A timeout says nothing about the thing that is tested."""
    probes.readiness(Script(None, 3600), on_error="keep", max_age=1, stale_after=10)
    await ask(probes)
    await anyio.sleep(2)
    result = await ask(probes)
    assert (result.status, result.stale) == (Status.HEALTHY, True)
    assert result.message == "timed out after 0.8 s, still running for 0.8 s"
    await anyio.sleep(9)
    result = await ask(probes)
    assert result.status is Status.UNHEALTHY


async def test_what_a_check_says_is_not_kept_back(probes: Probes) -> None:
    """Unhealthy is an answer, not an error of the check."""
    probes.readiness(Script(None, Unhealthy("down")), on_error="keep", max_age=0, stale_after=10)
    assert (await ask(probes)).status is Status.HEALTHY
    result = await ask(probes)
    assert (result.status, result.stale, result.message) == (Status.UNHEALTHY, False, "down")


async def test_bad_news_is_not_undone_by_a_check_that_cannot_run(probes: Probes) -> None:
    """After Unhealthy, a timeout or an error must not bring back the good value before it."""
    check = Script(None, Unhealthy("down"), OSError())
    probes.readiness(check, on_error="keep", max_age=0, stale_after=60)
    statuses = [(await ask(probes)).status for _ in range(3)]
    assert statuses == [Status.HEALTHY, Status.UNHEALTHY, Status.UNHEALTHY]


async def test_a_threshold_does_not_prolong_a_kept_value(probes: Probes) -> None:
    """After stale_after the value is gone, however many failures a threshold forgives."""
    check = Script(None, OSError())
    probes.readiness(check, on_error="keep", max_age=1, stale_after=10, failure_threshold=3)
    await ask(probes)
    for _ in range(3):
        await anyio.sleep(3)
        assert (await ask(probes)).stale
    await anyio.sleep(3)
    assert (await ask(probes)).status is not Status.HEALTHY


async def test_without_a_good_value_there_is_nothing_to_keep(probes: Probes) -> None:
    """The first failure fails."""
    probes.readiness(Script(OSError()), on_error="keep", stale_after=10)
    result = await ask(probes)
    assert (result.status, result.stale) == (Status.UNHEALTHY, False)


async def test_a_kept_check_recovers(probes: Probes) -> None:
    """The next good value is as good as any."""
    probes.readiness(Script(None, OSError(), None), on_error="keep", max_age=0, stale_after=10)
    assert [(await ask(probes)).stale for _ in range(3)] == [False, True, False]
