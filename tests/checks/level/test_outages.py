"""`Level` while its source cannot be asked: on every kind of loop, in fake time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from probekit.checks.worker import Level
from probekit.exceptions import Degraded, Unhealthy

from ._fetches import AsyncSource, failure, value_of

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio

Make = Callable[..., Level]


class TestOutage:
    async def test_the_last_good_number_stands_marked_stale(
        self, make: Make, clock: FakeClock
    ) -> None:
        """Until it is too old, with the class of the error and not its text."""
        source = AsyncSource(7, ConnectionError("password=hunter2"))
        level = make(source, max_age=60, stale_after=100)
        await level()
        clock.advance(60)
        trouble = "the source cannot be asked: ConnectionError"
        detail = await level()
        assert (detail["value"], detail["stale"], detail["trouble"]) == (7, True, trouble)
        clock.advance(40)
        error = await failure(level)
        assert type(error) is Unhealthy
        assert error.message == f"no number for 100 s: {trouble}"
        assert error.detail is not None
        assert error.detail["stale"] is True

    async def test_a_number_that_was_kept_must_be_in_bounds_too(
        self, make: Make, clock: FakeClock
    ) -> None:
        """And the text says how old it is."""
        level = make(AsyncSource(7, ConnectionError()), maximum=5)
        await failure(level)
        clock.advance(60)
        assert (await failure(level)).message == "7, 60 s ago, is above 5"

    async def test_it_is_asked_again_after_retry_after(self, make: Make, clock: FakeClock) -> None:
        """By default after ``max_age``; and the first good number ends the outage."""
        for options, pause in (({}, 60), ({"retry_after": 5}, 5)):
            source = AsyncSource(ConnectionError(), 7)
            level = make(source, max_age=60, **options)
            await failure(level)
            clock.advance(pause - 1)
            error = await failure(level)
            assert error.message == "no number yet: the source cannot be asked: ConnectionError"
            assert source.calls == 1
            clock.advance(1)
            assert await value_of(level) == 7

    async def test_fail_fails_at_once(self, make: Make, clock: FakeClock) -> None:
        """Where the number alone is not enough, but the source must be there."""
        level = make(AsyncSource(7, ConnectionError(), 8), on_error="fail")
        await level()
        clock.advance(60)
        error = await failure(level)
        assert error.message == "no number for 60 s: the source cannot be asked: ConnectionError"
        clock.advance(60)
        assert await value_of(level) == 8

    @pytest.mark.parametrize(
        ("value", "trouble"),
        [
            (None, "fetch returned a value of type NoneType; return an int, a float or a Decimal"),
            (True, "fetch returned a value of type bool; return an int, a float or a Decimal"),
            ("hunter2", "fetch returned a value of type str; return an int, a float or a Decimal"),
            (float("nan"), "fetch returned nan; return a finite number, or raise"),
            (Decimal("inf"), "fetch returned inf; return a finite number, or raise"),
            (Decimal("sNaN"), "the source cannot be asked: ValueError"),
        ],
    )
    async def test_what_is_no_number_is_refused(
        self, make: Make, clock: FakeClock, value: object, trouble: str
    ) -> None:
        """The text names its type and the remedy, never the value; the last good one stands."""
        level = make(AsyncSource(value))
        assert (await failure(level)).message == f"no number yet: {trouble}"
        level = make(AsyncSource(7, value))
        await level()
        clock.advance(60)
        assert (await level())["trouble"] == trouble

    async def test_a_fetch_may_say_how_it_is(self, make: Make, clock: FakeClock) -> None:
        """What it raises to be published is, with its detail, until the next fetch."""
        closed = Unhealthy("the account is closed", detail={"since": 2026})
        source = AsyncSource(7, closed, Degraded("it is being counted"), 8)
        level = make(source)
        await level()
        clock.advance(60)
        for _ in range(2):
            error = await failure(level)
            assert (type(error), error.message) == (Unhealthy, "the account is closed")
            assert error.detail is not None
            assert (error.detail["since"], error.detail["value"]) == (2026, 7)
        assert source.calls == 2
        clock.advance(60)
        error = await failure(level)
        assert (type(error), error.message) == (Degraded, "it is being counted")
        clock.advance(60)
        assert await value_of(level) == 8

    async def test_a_fetch_may_say_so_before_any_number(self, make: Make) -> None:
        """There is no number in the detail then."""
        error = await failure(make(AsyncSource(Degraded("it is being counted"))))
        assert (error.message, error.detail) == ("it is being counted", {})

    async def test_a_fetch_that_says_it_wrong_harms_nothing(self, make: Make) -> None:
        """A failure whose detail is none counts as any other error."""
        wrong: Any = "no mapping"
        level = make(AsyncSource(Unhealthy("?", detail=wrong)))
        assert (
            await failure(level)
        ).message == "no number yet: the source cannot be asked: ValueError"

    async def test_an_outage_is_logged_once_with_its_end(
        self, make: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With the traceback, which is published nowhere; another error is news again."""
        caplog.set_level(logging.INFO, logger="probekit")
        steps = [ConnectionError("refused"), ConnectionError("refused"), OSError(), None, 7, 8]
        level = make(AsyncSource(*steps), name="depth")
        for _ in steps:
            with suppress(Unhealthy):
                await level()
            clock.advance(60)
        assert [record.getMessage() for record in caplog.records] == [
            "level 'depth': the source cannot be asked: ConnectionError",
            "level 'depth': the source cannot be asked: OSError",
            "level 'depth': fetch returned a value of type NoneType; return an int, a float or a "
            "Decimal",
            "level 'depth': the source brings a number again",
        ]
        assert "ConnectionError: refused" in caplog.text
