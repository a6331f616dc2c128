"""A loop that stood still: who did it is named, and who did not is not blamed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from probekit import Probes, Status
from tests.core.helpers import Recorder, Script, ask, busy

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio


async def test_a_check_that_holds_the_loop_is_named(
    probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its result has the seconds, and the log says once where it is and what to do."""
    runs = 0

    @probes.readiness(max_age=0)
    async def blocking() -> None:
        nonlocal runs
        runs += 1
        await anyio.lowlevel.checkpoint()
        busy(0.15)
        await anyio.lowlevel.checkpoint()

    for _ in range(2):
        result = await ask(probes)
        assert result.status is Status.HEALTHY
        assert 0.1 < result.blocked < 1
    assert runs == 2
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("probekit", logging.WARNING)
    message = record.getMessage()
    line = blocking.__code__.co_firstlineno
    assert message.startswith(f"check 'blocking' (tests.core.test_blocked:{line} (")
    assert message.endswith(
        "ms: everything else stood still; await what it waits for, or make it a plain def, which "
        "runs on a thread of its own"
    )


async def test_a_check_that_blocks_again_is_named_again(
    probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each time that it begins to."""
    seconds = iter([0.12, 0.0, 0.12])

    @probes.readiness(max_age=0)
    async def blocking() -> None:
        busy(next(seconds))

    assert [(await ask(probes)).blocked >= 0.1 for _ in range(3)] == [True, False, True]
    assert len(caplog.records) == 2


async def test_a_sync_check_does_not_hold_the_loop(probes: Probes, clock: FakeClock) -> None:
    """On a thread of its own it may block as it likes."""

    @probes.readiness
    def blocking() -> None:
        busy(0.15)

    with clock.hold():
        result = await ask(probes)
    assert (result.status, result.blocked) == (Status.HEALTHY, 0.0)


async def test_a_blocking_neighbour_does_not_time_the_others_out(
    probes: Probes, clock: FakeClock
) -> None:
    """Who would have answered in time, had the loop turned, has a moment to do so."""
    probes.readiness(Script(0.82), name="nearly late", timeout=0.8)

    @probes.readiness
    async def blocking() -> None:
        await anyio.sleep(0.7)
        clock.advance(0.3)  # the loop stands still

    before = clock.monotonic()
    report = await probes.report()
    assert report.checks["nearly late"].status is Status.HEALTHY
    assert clock.monotonic() - before <= 1.11


async def test_a_blocked_loop_hides_no_dead_dependency(probes: Probes, clock: FakeClock) -> None:
    """It is waited for as long as the loop stood still, and a tenth of a second at least."""
    probes.readiness(Script(3600), name="dead")

    @probes.readiness
    async def blocking() -> None:
        await anyio.sleep(0.7)
        clock.advance(0.5)

    before = clock.monotonic()
    result = (await probes.report()).checks["dead"]
    assert (result.status, result.inconclusive) == (Status.UNKNOWN, True)
    assert result.message == "inconclusive: the event loop stood still for 0.4 s while it ran"
    assert clock.monotonic() - before == pytest.approx(1.3)


async def test_the_moment_is_granted_once(probes: Probes, clock: FakeClock) -> None:
    """A loop that always lags does not keep the answer for ever."""
    probes.readiness(Script(3600), name="dead")

    @probes.readiness
    async def blocking() -> None:
        while True:
            await anyio.sleep(0.01)
            clock.advance(0.3)

    before = clock.monotonic()
    report = await probes.report()
    assert not report.checks["dead"].status.passing
    assert clock.monotonic() - before < 2.0


async def test_a_little_lateness_is_no_excuse(probes: Probes, clock: FakeClock) -> None:
    """A timer that is 50 ms late proves nothing."""
    probes.readiness(Script(3600), name="dead")

    @probes.readiness
    async def slow() -> None:
        await anyio.sleep(0.79)
        clock.advance(0.06)

    before = clock.monotonic()
    assert (await probes.report()).checks["dead"].status is Status.UNHEALTHY
    assert clock.monotonic() - before == pytest.approx(0.85)


async def test_a_result_that_came_while_the_loop_stood_still_counts(
    probes: Probes, clock: FakeClock, recorder: Recorder
) -> None:
    """It is read before anybody is timed out."""
    probes.readiness(Script(0.5), name="in time")

    @probes.readiness
    async def blocking() -> None:
        await anyio.sleep(0.4)
        clock.advance(5)

    report = await probes.report()
    assert {result.status for result in report.checks.values()} == {Status.HEALTHY}
    assert {result.status for result in recorder.results} == {Status.HEALTHY}
