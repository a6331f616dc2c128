"""`Progress`: jobs are counted right from everywhere, and judged by three numbers."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from probekit import Probes, Status
from probekit.checks.worker import Progress
from probekit.exceptions import CheckFailure, ConfigurationError, Degraded, Unhealthy
from tests.fake_time import FakeClock

THREADS = 32
NUMBERS = ["successes", "failures", "failures_in_a_row", "recent_successes", "recent_failures"]


@pytest.fixture
def clock() -> FakeClock:
    """The time of the test."""
    return FakeClock()


Make = Callable[..., Progress]


@pytest.fixture
def make(clock: FakeClock) -> Make:
    """Return a function that makes a `Progress` in the test's time."""
    return lambda **options: Progress(clock=clock.monotonic, **options)


def said(progress: Progress) -> tuple[type[CheckFailure], str] | None:
    """Return what the check raises and its text, or None if it passes."""
    try:
        progress()
    except CheckFailure as error:
        failure = error
    else:
        return None
    assert set(NUMBERS) <= set(failure.detail or {})
    return type(failure), failure.message


class TestCounting:
    def test_a_new_worker_has_done_nothing_and_is_well(self, make: Make, clock: FakeClock) -> None:
        """Whatever the limits, however long there is nothing to do."""
        progress = make(fail_below=1, max_failures=0, max_idle=1)
        clock.advance(1e6)
        assert progress() == dict.fromkeys(NUMBERS, 0)

    def test_it_publishes_all_its_numbers(self, make: Make, clock: FakeClock) -> None:
        """Totals, what was lately, failures in a row, the rate, and the time since a success."""
        progress = make(window=60)
        progress.failure()
        clock.advance(1000)
        progress.success()
        progress.success()
        progress.failure()
        clock.advance(1.5)
        expected = {
            "successes": 2,
            "failures": 2,
            "failures_in_a_row": 1,
            "recent_successes": 2,
            "recent_failures": 1,
        }
        assert progress() == expected | {"rate": 0.667, "idle": 1.5}
        assert progress.snapshot() == expected | {"rate": 2 / 3, "idle": 1.5}

    def test_batches_count_as_their_jobs(self, make: Make) -> None:
        """An empty one changes nothing, not even the run of failures."""
        progress = make(max_failures=2)
        progress.success(10)
        progress.failure(3)
        progress.success(0)
        progress.failure(0)
        assert said(progress) == (Unhealthy, "failures in a row: 3, at most 2")
        numbers = progress.snapshot()
        assert (numbers["successes"], numbers["failures"]) == (10, 3)

    @pytest.mark.parametrize("count", [-1, float("nan"), 1.5, 1.0, "2", None, True])
    @pytest.mark.parametrize("method", ["success", "failure"])
    def test_what_is_no_count_is_refused(self, make: Make, method: str, count: Any) -> None:
        """The text names the method and the value, and nothing is counted."""
        progress = make()
        complaint = rf"^Progress\.{method}: count must be a whole number >= 0, got {count!r};"
        with pytest.raises(ConfigurationError, match=complaint):
            getattr(progress, method)(count)
        assert progress.snapshot() == dict.fromkeys(NUMBERS, 0)

    def test_nothing_is_lost_between_32_threads(self) -> None:
        """The totals, the window and the rate come out exact, with checks in between."""
        progress = Progress(window=3600)
        begin = threading.Barrier(THREADS + 1)

        def work() -> None:
            begin.wait()
            for _ in range(1000):
                progress.success()
                progress.failure()
                progress.success(2)

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            numbers = progress.snapshot()
            assert numbers["successes"] == numbers["recent_successes"]
        numbers = progress.snapshot()
        assert numbers["successes"] == numbers["recent_successes"] == THREADS * 3000
        assert numbers["failures"] == numbers["recent_failures"] == THREADS * 1000
        assert numbers["rate"] == 0.75

    def test_a_signal_handler_may_count(self) -> None:
        """It interrupts its own thread in the midst of counting, and does not wait for itself."""
        progress = Progress(window=3600)
        handled = 0

        def on_alarm(*_: object) -> None:
            nonlocal handled
            progress.failure()
            handled += 1

        before = signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            while handled < 200:
                progress.success()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert progress.snapshot()["failures"] == handled

    def test_a_clock_that_jumps_harms_nothing(self) -> None:
        """Back or forth, the totals stand and no age is negative."""
        now = [1000.0]
        progress = Progress(window=60, max_idle=3600, clock=lambda: now[0])
        for jump in (1000.0, 10.0, 5.0, 1e8, 0.0, -50.0):
            now[0] = jump
            progress.success()
            assert progress()["recent_successes"] >= 1
        now[0] = -1e6
        assert progress()["idle"] == 0.0
        assert progress.snapshot()["successes"] == 6


class TestRate:
    def test_below_its_limits_it_degrades_and_fails(self, make: Make) -> None:
        """The text has the numbers behind the rate."""
        progress = make(degrade_below=0.9, fail_below=0.5)
        progress.success(9)
        progress.failure()
        assert said(progress) is None
        progress.failure()
        text = "9 of 11 jobs succeeded in 300 s, at least 90 % should"
        assert said(progress) == (Degraded, text)
        progress.failure(8)
        text = "9 of 19 jobs succeeded in 300 s, at least 50 % should"
        assert said(progress) == (Unhealthy, text)

    def test_few_outcomes_are_no_rate(self, make: Make) -> None:
        """One failure in the night is not a rate of nought."""
        progress = make(fail_below=0.5, min_outcomes=3)
        progress.failure(2)
        assert said(progress) is None
        progress.failure()
        assert said(progress) == (
            Unhealthy,
            "0 of 3 jobs succeeded in 300 s, at least 50 % should",
        )

    def test_what_is_older_than_the_window_is_forgotten(self, make: Make, clock: FakeClock) -> None:
        """A bad hour does not weigh on the next one."""
        progress = make(fail_below=0.5, window=60)
        progress.failure(100)
        assert said(progress) is not None
        clock.advance(62)
        progress.success(10)
        assert said(progress) is None
        assert progress.snapshot()["rate"] == 1.0


class TestFailuresInARow:
    def test_above_their_limits_it_degrades_and_fails(self, make: Make) -> None:
        """One success forgets them all."""
        progress = make(degrade_failures=1, max_failures=2)
        progress.failure()
        assert said(progress) is None
        progress.failure()
        assert said(progress) == (Degraded, "failures in a row: 2, at most 1")
        progress.failure()
        assert said(progress) == (Unhealthy, "failures in a row: 3, at most 2")
        progress.success()
        assert said(progress) is None

    def test_none_may_be_allowed(self, make: Make) -> None:
        """With 0 the first failure fails, until the next success."""
        progress = make(max_failures=0)
        progress.failure()
        assert said(progress) == (Unhealthy, "failures in a row: 1, at most 0")


class TestIdle:
    def test_it_is_counted_from_the_last_success(self, make: Make, clock: FakeClock) -> None:
        """Failures do not count as progress."""
        progress = make(degrade_idle=10, max_idle=20)
        progress.success()
        clock.advance(10.5)
        progress.failure()
        assert said(progress) == (Degraded, "no success for 10.5 s, at most 10 s")
        clock.advance(10)
        assert said(progress) == (Unhealthy, "no success for 20.5 s, at most 20 s")
        progress.success()
        assert said(progress) is None

    def test_it_is_not_counted_before_the_first_success(self, make: Make, clock: FakeClock) -> None:
        """A worker that has only failed is judged by its failures."""
        progress = make(max_idle=20)
        progress.failure()
        clock.advance(100)
        assert said(progress) is None
        assert "idle" not in progress.snapshot()


def test_the_worst_of_several_decides_and_all_are_told(make: Make, clock: FakeClock) -> None:
    """The operator sees the whole picture in one sentence."""
    progress = make(degrade_below=0.5, degrade_failures=5, max_idle=10)
    progress.success()
    clock.advance(11)
    progress.failure(20)
    assert said(progress) == (
        Unhealthy,
        "1 of 21 jobs succeeded in 300 s, at least 50 % should; "
        "failures in a row: 20, at most 5; no success for 11.0 s, at most 10 s",
    )


def test_it_serves_readiness_through_the_engine(clock: FakeClock) -> None:
    """Under its own name, with its numbers as the detail."""
    probes = Probes(clock=clock, observers=[])
    progress = Progress(degrade_failures=0, clock=clock.monotonic)
    probes.readiness(progress, max_age=0)
    progress.failure()
    result = asyncio.run(probes.report()).checks["progress"]
    assert result.status is Status.DEGRADED
    assert result.message == "failures in a row: 1, at most 0"
    assert result.detail["failures"] == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window": 0}, "window must be > 0 seconds, got 0"),
        ({"min_outcomes": 0}, "min_outcomes must be a whole number >= 1, got 0"),
        ({"min_outcomes": 1.5}, "min_outcomes must be a whole number >= 1, got 1.5"),
        ({"min_outcomes": True}, "min_outcomes must be a whole number >= 1, got True"),
        ({"fail_below": 50}, "fail_below must be an int or a float from 0 to 1, got 50; leave"),
        ({"degrade_below": -0.1}, "degrade_below must be an int or a float from 0 to 1, got -0.1"),
        ({"fail_below": float("nan")}, "fail_below must be .* got nan"),
        ({"max_failures": -1}, "max_failures must be an int or a float >= 0, got -1"),
        ({"max_failures": True}, "max_failures must be an int or a float >= 0, got True"),
        ({"max_idle": "60"}, "max_idle must be an int or a float >= 0, got '60'"),
        ({"max_idle": float("inf")}, "max_idle must be an int or a float >= 0, got inf"),
        (
            {"degrade_below": 0.5, "fail_below": 0.5},
            "degrade_below must be above fail_below, or it would never degrade; got "
            "degrade_below=0.5 and fail_below=0.5",
        ),
        (
            {"degrade_idle": 20, "max_idle": 10},
            "degrade_idle must be below max_idle, or it would never degrade",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    """At once, naming the option, the value and what would do."""
    with pytest.raises(ConfigurationError, match=f"^Progress: {complaint}"):
        Progress(**options)
