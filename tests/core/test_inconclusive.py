"""A timeout while the loop stands still says nothing of the dependency, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from probekit import CheckResult, Degraded, Probe, Probes, Report, Status, Unhealthy
from probekit._core.excuse import Excuse
from probekit._core.loops import current_loop
from tests.core.helpers import Hung, Recorder, Script, ask, busy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio

HEALTHY, UNHEALTHY, UNKNOWN = Status.HEALTHY, Status.UNHEALTHY, Status.UNKNOWN


@pytest.fixture
async def started(probes: Probes) -> AsyncGenerator[None]:
    """Let the heart beat, as in an application."""
    async with probes.lifespan():
        yield


beating = pytest.mark.usefixtures("started")


def round_trips(count: int, each: float) -> Callable[[], Awaitable[None]]:
    """Return a check of a dependency that answers so often, each answer taking so long."""

    async def check() -> None:
        for _ in range(count):
            await anyio.sleep(each)

    return check


async def block(clock: FakeClock, *, after: float, seconds: float) -> None:
    """Be the handler of a request that holds the loop."""
    await anyio.sleep(after)
    clock.advance(seconds)


async def ask_blocked(
    probes: Probes,
    clock: FakeClock,
    probe: Probe = Probe.READINESS,
    *,
    after: float = 0.05,
    seconds: float = 1.5,
) -> Report:
    """Ask while a handler holds the loop."""
    found: list[Report] = []
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: block(clock, after=after, seconds=seconds))
        found.append(await probes.report(probe))
    return found[0]


def only(report: Report) -> CheckResult:
    """Return the result of the one check."""
    (result,) = report.checks.values()
    return result


# -- healthy dependencies ---------------------------------------------------------------------


@pytest.mark.parametrize("lifespan", [True, False], ids=["a lifespan", "no lifespan"])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.75])
async def test_a_handler_that_blocks_makes_nobody_unhealthy(
    after: float, lifespan: bool, probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """Five dependencies that need several round trips are not five dead dependencies."""

    async def main() -> None:
        for number in range(5):
            probes.readiness(round_trips(4 + number, 0.05), name=f"dependency {number}")
        assert not {UNHEALTHY, Status.DEGRADED} & {
            result.status
            for result in (await ask_blocked(probes, clock, after=after)).checks.values()
        }
        await anyio.sleep(1.1)
        assert (await probes.report()).status is HEALTHY
        for _ in range(4):
            await anyio.sleep(1.1)
            assert (await ask_blocked(probes, clock, after=after)).status is HEALTHY
        assert UNHEALTHY not in {result.status for result in recorder.results}

    if lifespan:
        async with probes.lifespan():
            await main()
    else:
        await main()


@beating
async def test_what_the_loop_stood_still_is_added_to_the_timeout(
    probes: Probes, clock: FakeClock
) -> None:
    """Who lost 0.6 s of its 0.8 s has them back, though the block ended before the timer."""
    probes.readiness(round_trips(12, 0.05))
    before = clock.monotonic()
    result = only(await ask_blocked(probes, clock, seconds=0.6))
    assert (result.status, result.inconclusive) == (HEALTHY, False)
    assert 0.8 < clock.monotonic() - before < 1.4


@beating
async def test_the_timeout_is_no_more_than_doubled(probes: Probes, clock: FakeClock) -> None:
    """However often a loop stands still, the answer comes."""
    probes.readiness(Script(3600))
    before = clock.monotonic()

    async def lag() -> None:
        while True:
            await block(clock, after=0.01, seconds=0.3)

    async with anyio.create_task_group() as group:
        group.start_soon(lag)
        assert (await ask(probes)).inconclusive
        assert clock.monotonic() - before <= 1.6 + 0.1 + 0.3
        group.cancel_scope.cancel()


async def test_a_thread_that_came_back_is_heard_before_it_is_called_late(
    probes: Probes, clock: FakeClock
) -> None:
    """What it has to say waits for the loop; its own time was enough."""
    check = Hung()
    probes.readiness(check)
    async with anyio.create_task_group() as group:
        group.start_soon(come_back_while_the_loop_stands_still, probes, clock, check)
        result = await ask(probes)
    assert (result.status, result.inconclusive) == (HEALTHY, False)


async def come_back_while_the_loop_stands_still(
    probes: Probes, clock: FakeClock, check: Hung
) -> None:
    """Let the thread finish while the caller holds the loop."""
    await anyio.sleep(0.7)
    finish(probes, check)
    clock.advance(1.5)


def finish(probes: Probes, check: Hung) -> None:
    """Let the thread of the check finish, and wait until it has."""
    run = probes.service.engine.states[Probe.READINESS]["hung"].run
    assert run is not None
    check.go_on.set()
    for _ in range(1000):
        if run.outcome is not None:
            return
        busy(0.01)
    raise TimeoutError


# trio wakes in no certain order what is due at the same time
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
async def test_a_thread_that_came_back_in_the_last_moment_is_heard(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It has finished when the timer rings, though the loop has not been told yet."""
    check = Hung()
    probes.readiness(check)

    def last_moment() -> None:
        finish(probes, check)
        clock.advance(0.01)

    current_loop().call_later(0.8 - 5e-10, last_moment)
    result = await ask(probes)
    assert (result.status, result.inconclusive) == (HEALTHY, False)
    await anyio.sleep(1)
    assert [result.status for result in recorder.results] == [HEALTHY]


# -- what an inconclusive run changes ---------------------------------------------------------


@beating
async def test_the_status_stays_what_it_was(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """The last result stands, marked, and says why; observers hear of it."""
    probes.readiness(Script({"rows": 3}, 3600), max_age=5)
    good = await ask(probes)
    await anyio.sleep(6)
    result = only(await ask_blocked(probes, clock))
    assert result == good._replace(message=result.message, stale=True, inconclusive=True)
    assert result.message is not None
    assert result.message.startswith("inconclusive: the event loop stood still for 1.")
    assert result.message.endswith(" s while it ran")
    assert recorder.results == [good, result]
    assert recorder.changes == [(UNKNOWN, HEALTHY)]


@beating
@pytest.mark.parametrize(
    ("probe", "critical", "status"),
    [
        (Probe.READINESS, True, UNKNOWN),
        (Probe.READINESS, False, Status.DEGRADED),
        (Probe.STARTUP, True, UNKNOWN),
        (Probe.STARTUP, False, Status.DEGRADED),
        (Probe.LIVENESS, True, HEALTHY),
        (Probe.LIVENESS, False, HEALTHY),
    ],
)
async def test_a_first_run_that_says_nothing_leaves_it_unknown(
    probe: Probe, critical: bool, status: Status, probes: Probes, clock: FakeClock
) -> None:
    """Readiness and startup fail as before any run, liveness does not."""
    check = Script(3600, None)
    match probe:
        case Probe.READINESS:
            probes.readiness(check, critical=critical)
        case Probe.STARTUP:
            probes.startup(check, critical=critical)
        case Probe.LIVENESS:
            probes.liveness(check, critical=critical)
    report = await ask_blocked(probes, clock, probe)
    result = only(report)
    assert report.status is status
    assert (result.status, result.stale, result.since) == (UNKNOWN, False, None)
    assert (result.message or "").startswith("inconclusive: ")


@beating
async def test_a_startup_check_latches_on_a_pass_alone(probes: Probes, clock: FakeClock) -> None:
    """Readiness waits for it until it has passed."""
    probes.startup(round_trips(40, 0.05), name="migrations")
    assert not (await ask_blocked(probes, clock, Probe.STARTUP)).passing
    assert probes.peek().message == "startup has not passed: migrations"
    await anyio.sleep(2)
    assert (await probes.report(Probe.STARTUP)).passing
    assert (await probes.report()).passing


@beating
async def test_a_bad_status_stays_as_well(probes: Probes, clock: FakeClock) -> None:
    """No excuse makes an unhealthy check healthy."""
    probes.readiness(Script(Unhealthy("down"), 3600))
    await ask(probes)
    await anyio.sleep(1.1)
    result = only(await ask_blocked(probes, clock))
    assert (result.status, result.failures, result.inconclusive) == (UNHEALTHY, 1, True)


@beating
@pytest.mark.parametrize(
    ("outcomes", "statuses"),
    [("SS?F?F", "?SSSSF"), ("SSF?S?F", "?SSSSSS"), ("F?F", "??F"), ("F?S?S", "????S")],
)
async def test_thresholds_do_not_count_it(
    outcomes: str, statuses: str, probes: Probes, clock: FakeClock
) -> None:
    """It is neither a failure nor a success, and comes between none of them."""
    steps: dict[str, BaseException | None] = {"S": None, "F": OSError(), "?": TimeoutError()}
    check = slowly(Script(*(steps[each] for each in outcomes)))
    probes.readiness(check, failure_threshold=2, success_threshold=2, name="check")
    found = ""
    for each in outcomes:
        result = only(await (ask_blocked(probes, clock) if each == "?" else probes.report()))
        assert result.inconclusive is (each == "?")
        found += {HEALTHY: "S", UNHEALTHY: "F", UNKNOWN: "?"}[result.status]
        await anyio.sleep(1.1)
    assert found == statuses


def slowly(check: Script) -> Callable[[], Awaitable[None]]:
    """Let the check take a tenth of a second, in which something may happen."""

    async def slow() -> None:
        await anyio.sleep(0.1)
        await check()

    return slow


@beating
async def test_the_next_who_asks_waits_for_the_same_run(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It is neither fresh nor overdue: it has its whole timeout once more."""
    check = Script(2.9)
    probes.readiness(check, max_age=60)
    assert only(await ask_blocked(probes, clock)).status is UNKNOWN  # 1.65 s
    await anyio.sleep(0.5)
    before = clock.monotonic()
    assert (await ask(probes)).status is HEALTHY
    assert 0.6 < clock.monotonic() - before < 0.8
    assert check.runs == 1
    assert recorder.changes == [(UNKNOWN, HEALTHY)]


@beating
async def test_a_dead_dependency_is_found_out_by_the_next_who_asks(
    probes: Probes, clock: FakeClock
) -> None:
    """When the loop turns, a timeout is a timeout."""
    check = Script(None, 3600)
    probes.readiness(check)
    await ask(probes)
    await anyio.sleep(1.1)
    assert only(await ask_blocked(probes, clock)).status is HEALTHY
    before = clock.monotonic()
    result = await ask(probes)
    assert (result.status, result.inconclusive) == (UNHEALTHY, False)
    assert (result.message or "").startswith("timed out after 0.8 s, still running for 2.")
    assert clock.monotonic() - before == pytest.approx(0.8, abs=0.01)
    assert check.runs == 2


@beating
async def test_a_late_result_is_used_when_nobody_asks(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """The run goes on, and what comes of it counts."""
    probes.readiness(Script(5.0))
    assert only(await ask_blocked(probes, clock)).inconclusive
    assert (await recorder.next_result()).status is HEALTHY
    assert not only(probes.peek()).inconclusive


@beating
async def test_a_run_that_is_excused_is_given_up_all_the_same(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """`cancel_after` counts from its start, however often it was waited for."""
    probes.readiness(Script(3600), cancel_after=5)
    before = clock.monotonic()
    assert only(await ask_blocked(probes, clock)).inconclusive
    assert (await ask(probes)).status is UNHEALTHY
    assert (await recorder.next_result()).message == "given up after 5 s"
    assert clock.monotonic() - before == pytest.approx(5)


@beating
async def test_what_the_loop_stood_still_does_not_end_a_run(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """A `cancel_after` that a standstill outlasts leaves it another timeout."""
    probes.readiness(round_trips(10, 0.05), cancel_after=1)
    assert only(await ask_blocked(probes, clock)).inconclusive
    assert (await recorder.next_result()).status is HEALTHY


@beating
async def test_all_who_wait_for_a_run_have_the_same_answer(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """A run that is joined is excused once."""
    probes.readiness(Script(3600))
    found: list[Report] = []

    async def caller(delay: float) -> None:
        await anyio.sleep(delay)
        found.append(await probes.report())

    async with anyio.create_task_group() as group:
        for delay in (0.0, 0.02, 0.04):
            group.start_soon(caller, delay)
        group.start_soon(lambda: block(clock, after=0.1, seconds=1.5))
    assert [only(report).inconclusive for report in found] == [True] * 3
    assert len(recorder.results) == 1


@beating
async def test_a_background_check_says_nothing_either(probes: Probes, clock: FakeClock) -> None:
    """Its status stays, until the last result is too old to be believed."""
    probes.readiness(Script(None, 3600), interval=10, initial_delay=0)
    await anyio.sleep(9.9)
    await block(clock, after=0.2, seconds=1.5)
    await anyio.sleep(0.5)
    result = only(await probes.report())
    assert (result.status, result.stale, result.inconclusive) == (HEALTHY, True, True)
    await anyio.sleep(2)
    assert only(probes.peek()).status is HEALTHY
    state = probes.service.engine.states[Probe.READINESS]["script"]
    result, _ = state.view(clock.monotonic() + 60)
    assert (result.status, result.stale) == (UNKNOWN, True)


@beating
async def test_a_kept_value_is_excused_like_any(probes: Probes, clock: FakeClock) -> None:
    """With ``on_error="keep"``, too, the status stays; that it is old is the prober's doing."""
    probes.readiness(Script(None, 3600), on_error="keep", stale_after=3)
    await ask(probes)
    await anyio.sleep(60)
    result = only(await ask_blocked(probes, clock))
    assert (result.status, result.stale, result.inconclusive) == (HEALTHY, True, True)


# -- what is no excuse ------------------------------------------------------------------------


async def found_blocked(probes: Probes, clock: FakeClock, times: int, *, every: float) -> str:
    """Return what a check is found to be, asked so often while a handler blocks."""
    letters = {HEALTHY: "H", UNKNOWN: "U", UNHEALTHY: "F"}
    found = ""
    for _ in range(times):
        before = clock.monotonic()
        result = only(await ask_blocked(probes, clock))
        found += "?" if result.inconclusive else letters[result.status]
        await anyio.sleep(max(0.0, before + every - clock.monotonic()))
    return found


async def rings() -> None:
    """Fail by a timeout of its own, as clients have them."""
    await anyio.sleep(0.1)
    raise TimeoutError


@beating
@pytest.mark.parametrize(
    ("every", "expected"), [(2, "H???FFFF"), (6, "H??FFFFF"), (11, "H?FFFFFF")]
)
@pytest.mark.parametrize("dead", ["hangs", "rings"])
async def test_a_loop_that_always_lags_hides_no_dead_dependency(
    dead: str, every: float, expected: str, probes: Probes, clock: FakeClock
) -> None:
    """Three times in a row, or for ten seconds: then a timeout is a timeout, until it passes."""
    works = True

    @probes.readiness
    async def dependency() -> None:
        if not works:
            await (rings() if dead == "rings" else anyio.sleep_forever())

    found = await found_blocked(probes, clock, 1, every=every)
    works = False
    assert found + await found_blocked(probes, clock, 7, every=every) == expected


@beating
async def test_a_failure_threshold_counts_on_when_the_excuses_are_used_up(
    probes: Probes, clock: FakeClock
) -> None:
    """Not three of them before each failure."""
    probes.readiness(rings, failure_threshold=3)
    assert await found_blocked(probes, clock, 6, every=3) == "???UUF"


@beating
async def test_a_success_makes_the_excuse_good_again(probes: Probes, clock: FakeClock) -> None:
    """A loop that blocks now and then is excused now and then."""
    check = Script(None, TimeoutError(), TimeoutError(), TimeoutError())
    probes.readiness(slowly(check), name="check")
    await ask(probes)
    for _ in range(3):
        check.runs = 1
        await anyio.sleep(1.1)
        assert await found_blocked(probes, clock, 3, every=2) == "???"
        check.runs = 0
        assert (await ask(probes)).status is HEALTHY


@beating
async def test_a_check_that_holds_the_loop_itself_has_no_excuse(
    probes: Probes, clock: FakeClock
) -> None:
    """Its neighbour has one."""
    probes.readiness(Script(3600), name="neighbour", timeout=0.1)

    @probes.readiness(timeout=0.1)
    async def blocking() -> None:
        await anyio.sleep(0.05)
        clock.advance(0.3)
        busy(0.3)
        await anyio.sleep_forever()

    report = await probes.report()
    assert report.checks["blocking"].status is UNHEALTHY
    assert (report.checks["blocking"].message or "").startswith("timed out after 0.1 s")
    assert report.checks["neighbour"].inconclusive


@beating
async def test_a_hiccup_excuses_no_long_wait(probes: Probes, clock: FakeClock) -> None:
    """A run that has waited for 10 s all the same is dead."""
    probes.readiness(Script(3600), timeout=10)
    before = clock.monotonic()
    result = only(await ask_blocked(probes, clock))
    assert (result.status, result.inconclusive) == (UNHEALTHY, False)
    assert 11 < clock.monotonic() - before < 11.6


@beating
async def test_what_the_loop_did_before_is_no_excuse(probes: Probes, clock: FakeClock) -> None:
    """The window begins with the run."""
    probes.readiness(Script(3600))
    clock.advance(5)
    assert (await ask(probes)).status is UNHEALTHY


# -- timeouts of the check's own --------------------------------------------------------------


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """Return ``error`` as it is after ``raise error from cause``."""
    error.__cause__ = cause
    return error


def meanwhile(error: BaseException, context: BaseException) -> BaseException:
    """Return ``error`` as it is when it was raised while ``context`` was handled."""
    error.__context__ = context
    return error


@beating
@pytest.mark.parametrize(
    ("error", "excused"),
    [
        (TimeoutError(), True),
        (trio.TooSlowError(), True),
        (caused(Unhealthy("no answer"), TimeoutError()), True),
        (meanwhile(ConnectionError(), caused(RuntimeError(), TimeoutError())), True),
        (ExceptionGroup("", [OSError(), TimeoutError()]), True),
        (OSError(), False),
        (Unhealthy("down"), False),
        (caused(Unhealthy("down"), OSError()), False),
        (caused(Degraded("slow"), TimeoutError()), False),
    ],
    ids=repr,
)
async def test_a_timer_that_rings_before_the_answer_is_read_says_nothing(
    error: BaseException, excused: bool, probes: Probes, clock: FakeClock
) -> None:
    """A client's own timeout is as good an excuse; a refused connection is none."""
    probes.readiness(slowly(Script(None, error)), name="check")
    good = await ask(probes)
    await anyio.sleep(1.1)
    result = only(await ask_blocked(probes, clock))
    if excused:
        name = type(error).__name__
        assert (result.status, result.inconclusive) == (HEALTHY, True)
        assert result.at == good.at
        assert (result.message or "").endswith(f" s while it ran ({name})")
    else:
        assert not result.inconclusive
        assert result.status is not HEALTHY


@beating
async def test_a_timer_that_rings_while_the_loop_turns_is_a_failure(probes: Probes) -> None:
    """Nothing excuses it."""
    probes.readiness(rings)
    result = await ask(probes)
    assert (result.status, result.message) == (UNHEALTHY, "TimeoutError")


@beating
async def test_a_timer_on_a_thread_rings_when_it_should(probes: Probes, clock: FakeClock) -> None:
    """What the loop does meanwhile is no excuse for a sync client."""
    check = Hung()

    def database() -> None:
        check()
        raise TimeoutError

    probes.readiness(database, name="hung")
    async with anyio.create_task_group() as group:
        group.start_soon(come_back_while_the_loop_stands_still, probes, clock, check)
        result = await ask(probes)
    assert (result.status, result.message) == (UNHEALTHY, "TimeoutError")


@beating
async def test_a_run_that_was_called_late_has_been_judged(probes: Probes, clock: FakeClock) -> None:
    """When it fails at last, no later standstill excuses it."""

    @probes.readiness
    async def database() -> None:
        await anyio.sleep(2)
        raise TimeoutError

    assert (await ask(probes)).status is UNHEALTHY
    await block(clock, after=0.5, seconds=1.5)
    await anyio.sleep(0.1)
    assert only(probes.peek()).message == "TimeoutError"


# -- the excuse -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "lost", "granted"),
    [
        (0.8, 0.15, False),
        (0.8, 0.17, True),
        (0.2, 0.09, False),
        (0.2, 0.11, True),
        (10.0, 1.9, False),
        (10.0, 2.1, True),
    ],
)
async def test_an_excuse_is_a_fifth_of_the_timeout(
    seconds: float, lost: float, granted: bool
) -> None:
    """And a tenth of a second at least, since a beat is not more exact."""
    assert Excuse().grant(lost, timeout=seconds, now=0.0) is granted
