"""Running checks: at once, one run each, never waited for beyond the timeout."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from probekit import Degraded, Observer, Probe, Probes, Report, Status, Unhealthy
from tests.core.helpers import Hung, Recorder, Script, ask, run_together, stubborn, unkillable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio


async def healthy() -> None:
    """Pass."""


# -- running ----------------------------------------------------------------------------------


async def test_a_check_that_passes_is_healthy(probes: Probes, clock: FakeClock) -> None:
    """The result says all that is known of the run."""

    @probes.readiness
    async def database() -> dict[str, int]:
        await anyio.sleep(0.25)
        return {"rows": 3}

    report = await probes.report()
    result = report.checks["database"]
    assert report.status is Status.HEALTHY
    assert report.passing
    assert result.name == "database"
    assert result.status is Status.HEALTHY
    assert result.message is None
    assert result.detail == {"rows": 3}
    assert result.duration == pytest.approx(0.25)
    assert result.at == clock.monotonic()
    assert result.since == pytest.approx(clock.time())
    assert result.failures == 0
    assert not result.stale


async def test_a_sync_check_passes_on_a_thread(probes: Probes, clock: FakeClock) -> None:
    """`def` is as good as `async def`, and what it returns and raises is published alike."""
    probes.readiness(lambda: {"rows": 3}, name="rows")

    def table() -> None:
        raise Degraded("slow", detail={"ms": 900})

    probes.readiness(table)
    with clock.hold():
        report = await probes.report()
    assert report.checks["rows"].detail == {"rows": 3}
    assert report.checks["table"].status is Status.DEGRADED
    assert report.checks["table"].message == "slow"
    assert report.status is Status.DEGRADED
    assert report.passing


async def test_checks_run_at_once(probes: Probes, clock: FakeClock) -> None:
    """Twenty checks of half a second take half a second."""
    for number in range(20):
        probes.readiness(Script(0.5), name=f"check {number}")
    before = clock.monotonic()
    assert (await probes.report()).status is Status.HEALTHY
    assert clock.monotonic() - before == pytest.approx(0.5)


async def test_the_answer_is_there_when_the_last_check_is(probes: Probes, clock: FakeClock) -> None:
    """No answer waits for a timeout that nobody needs."""
    for seconds in (0.1, 0.3, 0.2):
        probes.readiness(Script(seconds), name=f"{seconds:g}")
    before = clock.monotonic()
    await probes.report()
    assert clock.monotonic() - before == pytest.approx(0.3)


async def test_without_checks_the_answer_is_immediate(probes: Probes, clock: FakeClock) -> None:
    """An empty set has nothing to wait for."""
    before = clock.monotonic()
    assert [(await probes.report(probe)).status for probe in Probe] == [Status.HEALTHY] * 3
    assert clock.monotonic() == before


async def test_each_check_has_its_own_timeout(probes: Probes, clock: FakeClock) -> None:
    """A patient check does not lend its patience to its neighbour."""
    probes.readiness(Script(0.4), name="quick", timeout=0.3)
    probes.readiness(Script(1.5), name="slow", timeout=2)
    before = clock.monotonic()
    report = await probes.report()
    assert clock.monotonic() - before == pytest.approx(1.5)
    assert report.checks["slow"].status is Status.HEALTHY
    # the late result of the quick one came while the slow one was waited for
    assert report.checks["quick"].status is Status.HEALTHY
    assert report.checks["quick"].duration == pytest.approx(0.4)


async def hang() -> None:
    """Never end."""
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    "make",
    [lambda: hang, Hung, lambda: stubborn, lambda: unkillable],
    ids=["async", "sync", "swallows cancellation", "swallows everything"],
)
async def test_the_answer_comes_at_the_timeout_and_not_later(
    make: Callable[[], Any], probes: Probes, clock: FakeClock
) -> None:
    """Whatever a check does with its time, the answer says so after 0.8 s."""
    check = make()
    probes.readiness(check, name="hanging")
    probes.readiness(healthy)
    before = clock.monotonic()
    report = await probes.report()
    assert clock.monotonic() - before == pytest.approx(0.8, abs=0.01)
    result = report.checks["hanging"]
    assert result.status is Status.UNHEALTHY
    assert result.message == "timed out after 0.8 s, still running for 0.8 s"
    assert result.duration == pytest.approx(0.8, abs=0.01)
    assert report.checks["healthy"].status is Status.HEALTHY
    if isinstance(check, Hung):
        check.go_on.set()


async def test_a_hanging_check_delays_one_answer_only(probes: Probes, clock: FakeClock) -> None:
    """Who asks while it is overdue is told at once how long it has been running."""
    probes.readiness(hang)
    await probes.report()
    for seconds, shown in [(0.5, "1.3"), (1.0, "2.3"), (1.8, "4.1")]:
        await anyio.sleep(seconds)
        before = clock.monotonic()
        result = await ask(probes)
        assert clock.monotonic() == before
        assert result.message == f"timed out after 0.8 s, still running for {shown} s"
        assert result.duration == pytest.approx(float(shown))
        assert result.status is Status.UNHEALTHY


# -- one run at a time ------------------------------------------------------------------------


async def test_a_hundred_callers_on_a_cold_cache_run_each_check_once(probes: Probes) -> None:
    """A stampede meets one run, and all get its result."""
    checks = [Script({"n": number}) for number in range(10)]
    for number, check in enumerate(checks):
        probes.readiness(check, name=f"check {number}")
    reports = await run_together(100, probes.report)
    assert [check.runs for check in checks] == [1] * 10
    assert len(reports) == 100
    assert all(isinstance(report, Report) and report.passing for report in reports)


async def test_a_joiner_waits_for_the_rest_of_the_timeout_only(
    probes: Probes, clock: FakeClock
) -> None:
    """Who joins a run after 0.5 s has the same answer 0.3 s later."""
    check = Script(2.0)
    probes.readiness(check)
    waited: list[float] = []

    async def caller(delay: float) -> None:
        await anyio.sleep(delay)
        before = clock.monotonic()
        assert (await ask(probes)).status is Status.UNHEALTHY
        waited.append(clock.monotonic() - before)

    async with anyio.create_task_group() as group:
        for delay in (0.0, 0.5, 0.7):
            group.start_soon(caller, delay)
    assert sorted(waited) == pytest.approx([0.1, 0.3, 0.8], abs=0.01)
    assert check.runs == 1


async def test_two_callers_may_ask_different_checks(probes: Probes, clock: FakeClock) -> None:
    """A caller waits for the checks that it asked and for no other."""
    probes.readiness(Script(0.2), name="quick")
    probes.readiness(Script(0.6), name="slow")
    waited: dict[str, float] = {}

    async def caller(name: str) -> None:
        before = clock.monotonic()
        report = await probes.report(only=name)
        assert list(report.checks) == [name]
        waited[name] = clock.monotonic() - before

    async with anyio.create_task_group() as group:
        group.start_soon(caller, "quick")
        group.start_soon(caller, "slow")
    assert waited == pytest.approx({"quick": 0.2, "slow": 0.6})


async def test_a_caller_that_is_gone_changes_nothing(probes: Probes, recorder: Recorder) -> None:
    """A client that hangs up neither cancels the run nor fails it for the others."""
    check = Script(0.5)
    probes.readiness(check)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, probes)
        await anyio.sleep(0.2)
        group.cancel_scope.cancel()
    assert recorder.results == []
    result = await ask(probes)
    assert result.status is Status.HEALTHY
    assert result.duration == pytest.approx(0.5)
    assert check.runs == 1


async def test_one_caller_of_several_that_is_gone_changes_nothing_for_the_rest(
    probes: Probes,
) -> None:
    """Who stays has the answer when it comes."""
    check = Script(0.5)
    probes.readiness(check)
    found: list[object] = []

    async def stay() -> None:
        found.append(await ask(probes))

    async def leave() -> None:
        with anyio.move_on_after(0.1):
            await ask(probes)

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        group.start_soon(stay)
    assert len(found) == 1
    assert check.runs == 1


async def test_a_run_that_nobody_waits_for_any_more_still_times_out(
    probes: Probes, recorder: Recorder
) -> None:
    """The timeout of a run does not depend on its caller's staying."""
    probes.readiness(hang)
    with anyio.move_on_after(0.1):
        await probes.report()
    await anyio.sleep(1)
    assert [result.status for result in recorder.results] == [Status.UNHEALTHY]


# -- max_age ----------------------------------------------------------------------------------


async def test_a_young_result_is_reused(probes: Probes, clock: FakeClock) -> None:
    """Within max_age nothing is run; after it, the next one who asks runs it."""
    check = Script(None)
    probes.readiness(check, max_age=5)
    for delay, runs in [(0.0, 1), (2.0, 1), (2.9, 1), (0.2, 2), (4.9, 2), (0.2, 3)]:
        await anyio.sleep(delay)
        result = await ask(probes)
        assert check.runs == runs
    assert result.age(clock.monotonic()) == 0.0


async def test_a_result_of_max_age_zero_is_never_reused(probes: Probes) -> None:
    """Each one who asks has a run of its own, or joins the one under way."""
    check = Script(None)
    probes.readiness(check, max_age=0)
    for runs in (1, 2, 3):
        await probes.report()
        assert check.runs == runs


async def test_a_failure_is_reused_like_a_success(probes: Probes) -> None:
    """A flood of probes does not reach a dependency that is down either."""
    check = Script(OSError())
    probes.readiness(check, max_age=5)
    for _ in range(3):
        assert (await ask(probes)).status is Status.UNHEALTHY
    assert check.runs == 1


async def test_peek_runs_nothing(probes: Probes) -> None:
    """What is not known yet is unknown."""
    check = Script(None)
    probes.readiness(check)
    report = probes.peek()
    assert report.status is Status.UNKNOWN
    assert report.checks["script"].message == "not yet run"
    assert report.checks["script"].duration is None
    assert report.checks["script"].since is None
    await probes.report()
    assert probes.peek().status is Status.HEALTHY
    assert check.runs == 1


# -- what a check raises ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unhealthy("no rows"), "no rows"),
        (OSError("secret"), "OSError"),
        (SystemExit(3), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException(), "BaseException"),
        (ExceptionGroup("", [OSError(), ValueError()]), "ExceptionGroup (OSError, ValueError)"),
        (BaseExceptionGroup("", [SystemExit()]), "BaseExceptionGroup (SystemExit)"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_whatever_a_check_raises_harms_nobody(
    error: BaseException, message: str, is_async: bool, probes: Probes, clock: FakeClock
) -> None:
    """The process, the other checks and the next run stay whole."""
    runs = 0

    def fail() -> None:
        nonlocal runs
        runs += 1
        raise error

    async def fail_async() -> None:
        fail()

    probes.readiness(fail_async if is_async else fail, name="broken")
    probes.readiness(healthy)
    for run in (1, 2):
        with clock.hold():
            report = await probes.report()
        assert report.checks["broken"].status is Status.UNHEALTHY
        assert report.checks["broken"].message == message
        assert report.checks["healthy"].status is Status.HEALTHY
        assert runs == run
        await anyio.sleep(1.1)


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_a_check_that_raises_a_cancellation_is_unhealthy(probes: Probes) -> None:
    """A CancelledError of its own making is a failure like any other, and not the last run."""
    check = Script(asyncio.CancelledError(), asyncio.CancelledError(), None)
    probes.readiness(check)
    for expected in (Status.UNHEALTHY, Status.UNHEALTHY, Status.HEALTHY):
        result = await ask(probes)
        assert result.status is expected
        assert result.message == (None if result.status.passing else "CancelledError")
        await anyio.sleep(1.1)


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_a_check_that_cancels_itself_is_not_lost(probes: Probes) -> None:
    """It is unhealthy, and runs again."""
    runs = 0

    @probes.readiness
    async def suicidal() -> None:
        nonlocal runs
        runs += 1
        task = asyncio.current_task()
        assert task is not None
        if runs == 1:
            task.cancel()
        await asyncio.sleep(0)

    result = await ask(probes)
    assert (result.status, result.message) == (Status.UNHEALTHY, "CancelledError")
    await anyio.sleep(1.1)
    assert (await ask(probes)).status is Status.HEALTHY
    assert runs == 2


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_a_failure_that_is_thrown_into_the_check_is_the_checks(probes: Probes) -> None:
    """A future throws its error of a future into whoever waits for it."""

    @probes.readiness
    async def waiting() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        loop.call_later(0.1, future.set_exception, OSError("secret"))
        await future

    result = await ask(probes)
    assert (result.status, result.message) == (Status.UNHEALTHY, "OSError")


async def test_a_check_may_use_cancel_scopes_of_its_own(probes: Probes) -> None:
    """A timeout inside the check is the check's own affair."""

    @probes.readiness
    async def patient() -> dict[str, int]:
        expired = 0
        for _ in range(20):
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep_forever()
            expired += scope.cancelled_caught
        return {"expired": expired}

    result = await ask(probes)
    assert result.status is Status.HEALTHY
    assert result.detail == {"expired": 20}


async def test_a_check_may_use_task_groups(probes: Probes) -> None:
    """Its child tasks run, and their failures come as a group."""

    @probes.readiness
    async def parts() -> None:
        async def part(error: Exception) -> None:
            await anyio.lowlevel.checkpoint()
            raise error

        async with anyio.create_task_group() as group:
            group.start_soon(part, Degraded("one"))
            group.start_soon(part, Degraded("two"))

    result = await ask(probes)
    assert result.status is Status.DEGRADED
    assert sorted(str(result.message).split("; ")) in (["one", "two"], ["one"], ["two"])


# -- thresholds -------------------------------------------------------------------------------


async def test_thresholds_apply_to_the_runs_of_a_check(probes: Probes, recorder: Recorder) -> None:
    """F S F S F never fails at 2 in a row; the failures in a row are published."""
    check = Script(None, OSError(), None, OSError(), OSError(), OSError(), None)
    probes.readiness(check, failure_threshold=2, max_age=0)
    found = []
    for _ in range(7):
        result = await ask(probes)
        found.append((result.status.value, result.failures, result.message))
    assert found == [
        ("healthy", 0, None),
        ("healthy", 1, "OSError"),
        ("healthy", 0, None),
        ("healthy", 1, "OSError"),
        ("unhealthy", 2, "OSError"),
        ("unhealthy", 3, "OSError"),
        ("healthy", 0, None),
    ]
    assert recorder.changes == [
        (Status.UNKNOWN, Status.HEALTHY),
        (Status.HEALTHY, Status.UNHEALTHY),
        (Status.UNHEALTHY, Status.HEALTHY),
    ]


async def test_since_is_when_the_status_changed(probes: Probes, clock: FakeClock) -> None:
    """It stands while the status does, whatever the message."""
    probes.readiness(Script(None, None, OSError(), ValueError(), None), max_age=0)
    start = clock.time()
    since = []
    for _ in range(5):
        since.append((await ask(probes)).since)
        await anyio.sleep(10)
    assert since == pytest.approx([start, start, start + 20, start + 20, start + 40])


# -- startup ----------------------------------------------------------------------------------


async def test_a_startup_check_that_passed_is_not_run_again(probes: Probes) -> None:
    """It latches: a migration is made once."""
    check = Script(OSError(), None)
    probes.startup(check, max_age=0)
    assert (await probes.report(Probe.STARTUP)).status is Status.UNHEALTHY
    assert (await probes.report(Probe.STARTUP)).status is Status.HEALTHY
    for _ in range(3):
        await anyio.sleep(1000)
        assert (await probes.report(Probe.STARTUP)).status is Status.HEALTHY
    assert check.runs == 2


async def test_readiness_fails_until_startup_has_passed(probes: Probes) -> None:
    """Asking for readiness runs the startup checks that are still to pass."""
    check = Script(OSError(), None)
    probes.startup(check, max_age=0)
    probes.readiness(healthy)
    report = await probes.report()
    assert report.status is Status.UNHEALTHY
    assert report.message == "startup has not passed: script"
    assert list(report.checks) == ["healthy"]
    assert (await probes.report()).status is Status.HEALTHY
    assert check.runs == 2


async def test_a_startup_check_latches_at_its_success_threshold(probes: Probes) -> None:
    """One success of two is not enough."""
    check = Script(None)
    probes.startup(check, max_age=0, success_threshold=2)
    statuses = [(await ask(probes, Probe.STARTUP)).status for _ in range(4)]
    assert statuses == [Status.UNKNOWN] + [Status.HEALTHY] * 3
    assert check.runs == 2


async def test_a_startup_check_may_pass_degraded(probes: Probes) -> None:
    """Degraded works, and latches as it is."""
    check = Script(Degraded("half a cache"), None)
    probes.startup(check, max_age=0)
    for _ in range(3):
        assert (await ask(probes, Probe.STARTUP)).message == "half a cache"
    assert check.runs == 1


async def test_a_startup_check_in_the_background_latches_too(probes: Probes) -> None:
    """Its timer goes on, and runs nothing."""
    check = Script(None)
    probes.startup(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(100)
        assert (await ask(probes, Probe.STARTUP)).status is Status.HEALTHY
    assert check.runs == 1


# -- context variables ------------------------------------------------------------------------

tenant = contextvars.ContextVar("tenant", default="nobody")


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_run_sees_the_context_of_its_declaration(
    is_async: bool, probes: Probes, clock: FakeClock
) -> None:
    """A run is everybody's: it must not inherit the request that happened to start it."""
    seen: list[str] = []

    def look() -> None:
        seen.append(tenant.get())
        tenant.set("the check's own")

    async def look_async() -> None:
        look()

    token = tenant.set("the application")
    probes.readiness(look_async if is_async else look, max_age=0, name="look")
    tenant.set("a request")
    with clock.hold():
        await probes.report()
        await probes.report()
    assert seen == ["the application"] * 2
    assert tenant.get() == "a request"
    tenant.reset(token)


# -- being asked oddly ------------------------------------------------------------------------


async def test_an_unknown_name_is_a_key_error(probes: Probes) -> None:
    """`only` names a check or nothing."""
    probes.readiness(healthy)
    with pytest.raises(KeyError, match="cache"):
        await probes.report(only="cache")


@pytest.mark.parametrize("kind", [list, tuple, set, iter])
async def test_excluded_checks_are_left_out_and_unknown_names_warned_of(
    kind: Callable[[list[str]], Any], probes: Probes
) -> None:
    """Any iterable of names does."""
    probes.readiness(Script(OSError()), name="down")
    probes.readiness(healthy)
    report = await probes.report(exclude=kind(["down", "typo"]))
    assert list(report.checks) == ["healthy"]
    assert report.status is Status.HEALTHY
    assert report.warnings == ("exclude: readiness has no check 'typo'",)


async def test_a_check_added_while_running_is_part_of_the_next_answer(probes: Probes) -> None:
    """Checks may be declared at any time."""
    probes.readiness(healthy)
    assert list((await probes.report()).checks) == ["healthy"]
    late = Script(None)
    probes.readiness(late, name="late")
    report = await probes.report()
    assert list(report.checks) == ["healthy", "late"]
    assert report.status is Status.HEALTHY
    assert late.runs == 1


async def test_a_check_added_during_an_answer_does_not_fail_it(probes: Probes) -> None:
    """An answer is about the checks that were asked."""
    probes.readiness(Script(0.5), name="slow")
    found: list[Status] = []

    async def caller() -> None:
        found.append((await probes.report()).status)

    async with anyio.create_task_group() as group:
        group.start_soon(caller)
        await anyio.sleep(0.2)
        probes.readiness(Script(None), name="late")
    assert found == [Status.HEALTHY]


async def test_a_failing_observer_harms_no_answer(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the observers after it hear of everything all the same."""

    class Broken(Observer):
        def on_result(self, result: object, error: object) -> None:
            raise ValueError("broken")

    recorder = Recorder()
    probes = Probes(clock=clock, observers=[Broken(), recorder])
    probes.readiness(healthy)
    assert (await probes.report()).status is Status.HEALTHY
    assert len(recorder.results) == 1
    (record,) = caplog.records
    assert record.name == "probekit"
    assert "Broken.on_result" in record.getMessage()
    assert record.getMessage().endswith("failed; probekit goes on without it")
    assert record.exc_info is not None


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_failure_that_is_itself_broken_fails_and_recovers(
    is_async: bool, probes: Probes, clock: FakeClock
) -> None:
    """A child of Unhealthy that forgets its parent's __init__ costs neither run nor process."""

    class Forgetful(Unhealthy):
        def __init__(self) -> None:
            pass

    runs = 0

    def check() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise Forgetful

    async def check_async() -> None:
        check()

    probes.readiness(check_async if is_async else check, name="broken", max_age=0)
    with clock.hold():
        statuses = [(await ask(probes)).status for _ in range(2)]
    assert statuses == [Status.UNHEALTHY, Status.HEALTHY]
