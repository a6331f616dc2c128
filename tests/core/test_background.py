"""Checks that run in the background, whatever is asked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import ConfigurationError, Probe, Probes, Status
from tests.core.helpers import Hung, Recorder, Script, ask, stubborn, unkillable
from tests.fake_time import START

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio


class Moments:
    """An async check that remembers when it ran."""

    name = "moments"

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.at: list[float] = []

    async def __call__(self) -> None:
        """Remember."""
        self.at.append(self.clock.monotonic() - START)


async def test_it_runs_every_interval_after_its_initial_delay(
    probes: Probes, clock: FakeClock
) -> None:
    """The first run comes when it was said to, the next an interval later."""
    check = Moments(clock)
    probes.readiness(check, interval=10, initial_delay=3)
    async with probes.lifespan():
        await anyio.sleep(45)
    assert check.at == pytest.approx([3, 13, 23, 33, 43])


async def test_the_first_runs_are_spread_over_the_interval(
    probes: Probes, clock: FakeClock
) -> None:
    """Replicas, and checks, that start together do not knock together."""
    checks = [Moments(clock) for _ in range(400)]
    for number, check in enumerate(checks):
        probes.readiness(check, name=f"check {number}", interval=10)
    async with probes.lifespan():
        await anyio.sleep(10)
    first = [check.at[0] for check in checks]
    assert all(0 <= moment <= 10 for moment in first)
    for quarter in range(4):
        # 100 are to be expected; 50 is 5.8 standard deviations away
        assert sum(quarter * 2.5 <= moment < quarter * 2.5 + 2.5 for moment in first) > 50


async def test_a_probe_is_answered_from_the_last_result_at_once(
    probes: Probes, clock: FakeClock
) -> None:
    """Nobody waits for a background check, even while it runs, and nobody starts one."""
    check = Script(0.5)
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(10.2)
        before = clock.monotonic()
        result = await ask(probes)
        assert clock.monotonic() == before
    assert result.status is Status.HEALTHY
    assert result.age(before) == pytest.approx(9.7)
    assert check.runs == 2


@pytest.mark.parametrize(
    ("probe", "passing"),
    [(Probe.LIVENESS, True), (Probe.READINESS, False), (Probe.STARTUP, False)],
)
async def test_what_has_not_run_yet_is_unknown(probe: Probe, passing: bool, probes: Probes) -> None:
    """That fails readiness and startup, and speaks for no restart."""
    getattr(probes, probe.value)(Script(None), interval=10, initial_delay=5)
    async with probes.lifespan():
        report = await probes.report(probe)
    (result,) = report.checks.values()
    assert (result.status, result.message) == (Status.UNKNOWN, "not yet run")
    assert report.passing is passing


async def test_a_result_that_is_too_old_is_unknown(probes: Probes) -> None:
    """A background check that stopped running is not believed for ever."""
    check = Script({"rows": 3}, 3600)
    probes.readiness(check, interval=10, initial_delay=0, timeout=10, stale_after=15)
    async with probes.lifespan():
        await anyio.sleep(14.9)
        assert (await ask(probes)).status is Status.HEALTHY
        await anyio.sleep(0.2)
        result = await ask(probes)
    assert result.status is Status.UNKNOWN
    assert result.stale
    assert result.message == "the last result is 15.1 s old, and stale after 15 s"


async def test_a_background_run_that_hangs_is_unhealthy(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It times out without anybody asking, counts again each interval, and is not doubled."""
    check = Script(None, 25)
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(10.5)
        assert (await ask(probes)).status is Status.HEALTHY
        await anyio.sleep(0.5)
        before = clock.monotonic()
        result = await ask(probes)
        assert clock.monotonic() == before
        assert result.status is Status.UNHEALTHY
        assert result.message == "timed out after 0.8 s, still running for 1.0 s"
        await anyio.sleep(20)
        assert [result.failures for result in recorder.results] == [0, 1, 2, 3]
        assert check.runs == 2
        await anyio.sleep(4.1)
        result = await ask(probes)
    assert result.status is Status.HEALTHY
    assert result.duration == pytest.approx(25)


async def test_a_sync_check_may_run_in_the_background(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """A thread that hangs is named, and costs one thread."""
    check = Hung()
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(95)
        result = await ask(probes)
        assert result.message == "timed out after 0.8 s, still running for 95.0 s"
        assert check.thread().name == "probekit:hung"
        with clock.hold():
            check.go_on.set()
            assert (await recorder.next_result()).status is Status.HEALTHY


async def test_a_failing_run_is_not_the_last(probes: Probes) -> None:
    """The timer goes on whatever a run comes to."""
    check = Script(OSError(), BaseException(), None)
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(25)
        assert (await ask(probes)).status is Status.HEALTHY
    assert check.runs == 3


async def test_they_begin_with_the_first_question_too(probes: Probes) -> None:
    """Without a lifespan the first probe that is asked starts them."""
    check = Script(None)
    probes.readiness(check, interval=10, initial_delay=5)
    assert (await probes.report()).status is Status.UNKNOWN
    await anyio.sleep(6)
    assert (await probes.report()).status is Status.HEALTHY
    assert check.runs == 1


async def test_they_begin_once_however_often_they_are_started(probes: Probes) -> None:
    """start() is harmless when they are under way."""
    check = Script(None)
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        probes.service.engine.start()
        await probes.report()
        probes.service.engine.start()
        await anyio.sleep(35)
    assert check.runs == 4


async def test_they_end_with_the_lifespan(probes: Probes) -> None:
    """After it nothing runs any more; another one begins anew."""
    check = Script(None)
    probes.readiness(check, interval=10, initial_delay=0)
    async with probes.lifespan():
        await anyio.sleep(15)
    await anyio.sleep(100)
    assert check.runs == 2
    async with probes.lifespan():
        await anyio.sleep(15)
    assert check.runs == 4


async def test_stopping_twice_is_harmless(probes: Probes) -> None:
    """stop() has nothing to do the second time."""
    probes.readiness(Script(None), interval=10)
    async with probes.lifespan():
        await anyio.sleep(5)
        await probes.service.engine.stop()
        await probes.service.engine.stop()
    assert probes.loop_lag == 0.0


async def test_a_lifespan_says_whether_sigterm_will_drain(probes: Probes) -> None:
    """Here it will not: nothing is to be waited for on a laptop."""
    assert probes.sigterm.startswith("not armed: ")
    assert not any(probes.in_flight.values())
    async with probes.lifespan():
        assert probes.sigterm.startswith("off: drain_delay is 0 (")


async def test_a_second_lifespan_at_once_is_refused(probes: Probes) -> None:
    """The text says who entered it already."""
    async with probes.lifespan():
        with pytest.raises(ConfigurationError, match=r"is served already, by .* ProbeMiddleware"):
            async with probes.lifespan():
                raise AssertionError


async def test_a_check_added_while_running_is_planned(probes: Probes, clock: FakeClock) -> None:
    """A background check may be declared at any time."""
    check = Moments(clock)
    async with probes.lifespan():
        await anyio.sleep(5)
        probes.readiness(check, interval=10, initial_delay=1)
        await anyio.sleep(20)
    assert check.at == pytest.approx([6, 16])


@pytest.mark.parametrize("seconds", [0.3, 100])
async def test_the_lifespan_ends_runs_under_way_without_news(
    seconds: float, probes: Probes, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A check that was interrupted by the end has not failed."""
    check = Script(None, seconds)
    probes.readiness(check, interval=10, initial_delay=0, timeout=5)
    with caplog.at_level(logging.INFO):
        async with probes.lifespan():
            await anyio.sleep(10.1)
    assert check.runs == 2
    assert [result.status for result in recorder.results] == [Status.HEALTHY]
    assert recorder.changes == [(Status.UNKNOWN, Status.HEALTHY)]


async def test_a_stubborn_run_holds_the_end_up_for_a_moment_only(
    probes: Probes, clock: FakeClock
) -> None:
    """The lifespan ends within about a second, whatever a check does."""
    probes.readiness(stubborn)
    probes.readiness(unkillable)
    async with probes.lifespan():
        await probes.report()
        before = clock.monotonic()
    assert clock.monotonic() - before <= 1.02


async def test_a_hung_thread_does_not_hold_the_end_up(probes: Probes, clock: FakeClock) -> None:
    """Nobody waits for a thread."""
    check = Hung()
    probes.readiness(check)
    async with probes.lifespan():
        await probes.report()
        before = clock.monotonic()
    assert clock.monotonic() == before
    check.go_on.set()


# -- the heartbeat ----------------------------------------------------------------------------


async def test_the_lag_of_the_loop_is_measured_between_start_and_stop(
    probes: Probes, clock: FakeClock
) -> None:
    """A loop that stands still shows at once, and for some beats more."""
    assert probes.loop_lag == 0.0
    async with probes.lifespan():
        await anyio.sleep(2.05)
        assert probes.loop_lag == pytest.approx(0.0, abs=1e-6)
        clock.advance(1.05)  # the loop stands still; a beat was due after 0.05 s
        assert probes.loop_lag == pytest.approx(1.0, abs=1e-6)
        await anyio.sleep(0.35)
        assert probes.loop_lag == pytest.approx(1.0, abs=1e-6)
        await anyio.sleep(1)
        assert probes.loop_lag == pytest.approx(0.0, abs=1e-6)
    assert probes.loop_lag == 0.0


def test_the_options_of_the_schedule_are_no_part_of_a_check_on_request(probes: Probes) -> None:
    """A check without interval has no moment of its own."""
    probes.readiness(Script(None))
    (check,) = probes.checks(Probe.READINESS)
    options: list[Any] = [check.interval, check.initial_delay]
    assert options == [None, None]
