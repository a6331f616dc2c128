"""`Level`: bounds, ages and slow sources that are async, on every kind of loop, in fake time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Probe, Probes, Status
from probekit.checks.worker import Level
from probekit.exceptions import CheckFailure, ConfigurationError, Degraded, Unhealthy

from ._fetches import AsyncSource, after, failure, hang, value_of

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio

Make = Callable[..., Level]


def about(seconds: float) -> Any:
    """Return what equals so many seconds, give or take those that a fetch was waited for."""
    return pytest.approx(seconds, abs=0.1)


class TestBounds:
    @pytest.mark.parametrize(
        ("number", "kind", "message"),
        [
            (9, Unhealthy, "9 is below 10"),
            (10, Degraded, "10 is below 20"),
            (19.5, Degraded, "19.5 is below 20"),
            (20, None, None),
            (30, None, None),
            (30.25, Degraded, "30.25 is above 30"),
            (1_234_567, Unhealthy, "1234567 is above 40"),
        ],
    )
    async def test_beyond_them_it_degrades_and_fails(
        self, make: Make, number: float, kind: type[CheckFailure] | None, message: str | None
    ) -> None:
        """The bounds themselves are well."""
        level = make(
            AsyncSource(number), minimum=10, degrade_below=20, degrade_above=30, maximum=40
        )
        if kind is None:
            assert await value_of(level) == number
        else:
            error = await failure(level)
            assert (type(error), error.message) == (kind, message)
            assert error.detail is not None
            assert error.detail["value"] == number

    @pytest.mark.parametrize("number", [Decimal("0.25"), Fraction(1, 4), 0.25])
    async def test_every_kind_of_number_will_do(self, make: Make, number: object) -> None:
        """A balance is often a Decimal."""
        level = make(AsyncSource(number), maximum=0.2)
        assert (await failure(level)).message == "0.25 is above 0.2"

    async def test_a_whole_number_stays_one(self, make: Make) -> None:
        """A depth of 12 is not published as 12.0, and a huge one is no overflow."""
        level = make(AsyncSource(10**400), maximum=10)
        error = await failure(level)
        assert error.message == f"{10**400} is above 10"


class TestAge:
    async def test_it_is_fetched_once_a_max_age(self, make: Make, clock: FakeClock) -> None:
        """However often it is asked."""
        source = AsyncSource(1, 2, 3)
        level = make(source, max_age=60)
        for _ in range(100):
            assert await level() == {"value": 1, "age": about(0), "stale": False}
        clock.advance(59)
        assert await level() == {"value": 1, "age": about(59), "stale": False}
        clock.advance(1)
        assert await value_of(level) == 2
        assert source.calls == 2

    async def test_the_numbers_can_be_had_without_a_fetch(
        self, make: Make, clock: FakeClock
    ) -> None:
        """Nothing before the first one, and an old one is marked."""
        source = AsyncSource(7)
        level = make(source, max_age=60)
        assert level.snapshot() == {}
        await level()
        clock.advance(30)
        assert level.snapshot() == {"value": 7, "age": about(30), "stale": 0}
        clock.advance(30)
        assert level.snapshot()["stale"] == 1
        assert source.calls == 1

    async def test_a_clock_that_jumps_back_stops_no_fetch(self) -> None:
        """The number is not kept until the clock has come round again."""
        now = [1e6]
        source = AsyncSource(1, 2)
        level = Level(source, minimum=0, clock=lambda: now[0])
        assert await value_of(level) == 1
        now[0] = 1000.0
        assert await level() == {"value": 2, "age": 0.0, "stale": False}


class TestSlowness:
    async def test_a_slow_fetch_is_used_when_it_comes(self, make: Make) -> None:
        """The answers do not wait for it for longer than ``wait``, and none asks again."""
        source = AsyncSource(after(2.0, 7))
        level = make(source, wait=0.5)
        assert (
            await failure(level)
        ).message == "no number yet: the source has not answered for 0.5 s"
        assert (
            await failure(level)
        ).message == "no number yet: the source has not answered for 1.0 s"
        await anyio.sleep(1.0)
        assert await value_of(level) == 7
        assert source.calls == 1

    async def test_a_fetch_that_hangs_leaves_the_last_good_number(
        self, make: Make, clock: FakeClock
    ) -> None:
        """Marked stale; after 30 s it is cancelled, and asked again when it is due."""
        source = AsyncSource(7, hang, 8)
        level = make(source, max_age=60, stale_after=200)
        await level()
        clock.advance(60)
        detail = await level()
        assert (detail["value"], detail["stale"]) == (7, True)
        assert detail["trouble"] == "the source has not answered for 0.5 s"
        await anyio.sleep(31)
        assert str((await level())["trouble"]).startswith("the source cannot be asked: T")
        await anyio.sleep(60)
        assert await value_of(level) == 8

    async def test_fail_fails_while_a_fetch_hangs(self, make: Make, clock: FakeClock) -> None:
        """With what is known of it."""
        level = make(AsyncSource(7, hang), on_error="fail")
        await level()
        clock.advance(60)
        error = await failure(level)
        assert error.message == "no number for 61 s: the source has not answered for 0.5 s"

    async def test_without_patience_an_answer_comes_from_what_is_known(self, make: Make) -> None:
        """``wait=0`` begins the fetch and leaves it to the next answer to use it."""
        level = make(AsyncSource(7), wait=0)
        assert "has not answered for 0.0 s" in (await failure(level)).message
        await anyio.sleep(0.01)
        assert await value_of(level) == 7

    async def test_a_cancelled_answer_leaves_the_fetch_to_the_others(self, make: Make) -> None:
        """A client that hangs up does no harm."""
        source = AsyncSource(after(0.2, 7))
        level = make(source)
        with anyio.move_on_after(0.1):
            await level()
        assert await value_of(level) == 7
        assert source.calls == 1

    async def test_answers_at_once_share_one_fetch(self, make: Make) -> None:
        """A stampede asks the source once."""
        source = AsyncSource(after(0.1, 7))
        level = make(source)
        values: list[object] = []

        async def ask() -> None:
            values.append(await value_of(level))

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(ask)
        assert values == [7] * 50
        assert source.calls == 1


class TestEngine:
    async def test_one_level_may_serve_two_probes(self, make: Make, clock: FakeClock) -> None:
        """Both have the number from one fetch."""
        probes = Probes(clock=clock, observers=[])
        source = AsyncSource(after(0.1, 7))
        level = make(source, name="depth")
        probes.readiness(level)
        probes.startup(level)
        report = await probes.report()
        assert report.checks["depth"].status is Status.HEALTHY
        assert report.checks["depth"].detail["value"] == 7
        assert source.calls == 1

    async def test_an_outage_reads_as_such_and_in_time(self, make: Make, clock: FakeClock) -> None:
        """Even with a source that hangs, the check never times out."""
        probes = Probes(clock=clock, observers=[])
        level = make(AsyncSource(7, hang), name="depth")
        probes.readiness(level, max_age=0)
        await probes.report()
        clock.advance(60)
        for _ in range(3):
            result = (await probes.report()).checks["depth"]
            assert result.status is Status.HEALTHY
            assert result.detail["stale"] is True

    async def test_liveness_refuses_it(self, make: Make) -> None:
        """A restart empties no queue; who knows better says so."""
        probes = Probes(observers=[])
        level = make(AsyncSource(7))
        with pytest.raises(ConfigurationError, match="Level talks to something outside"):
            probes.liveness(level)
        probes.liveness(level, external=True, name="depth")
        assert [check.name for check in probes.checks(Probe.LIVENESS)] == ["depth"]


def test_a_cancellation_of_its_own_is_an_outage() -> None:
    """A fetch that waits for something that was cancelled is not asked again at once."""
    source = AsyncSource(asyncio.CancelledError())
    level = Level(source, minimum=0)

    async def ask() -> str:
        return (await failure(level)).message

    expected = "no number yet: the source cannot be asked: CancelledError"
    assert asyncio.run(ask()) == asyncio.run(ask()) == expected
    assert source.calls == 1
