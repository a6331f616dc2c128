"""`Heartbeat`: a loop that stops beating is named, from whatever thread it beat."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from probekit import Probe, Probes, Status
from probekit.checks.worker import Heartbeat
from probekit.exceptions import ConfigurationError, Unhealthy
from tests.fake_time import FakeClock

THREADS = 32


@pytest.fixture
def clock() -> FakeClock:
    """The time of the test."""
    return FakeClock()


def failure(heartbeat: Heartbeat) -> Unhealthy:
    """Return what the check raises."""
    with pytest.raises(Unhealthy) as caught:
        heartbeat()
    return caught.value


class TestBeating:
    def test_a_loop_that_beats_is_well(self, clock: FakeClock) -> None:
        """The ages are published."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        for _ in range(5):
            heartbeat.beat()
            clock.advance(30)
            assert heartbeat() == {"loops": {"main": 30.0}}

    def test_a_loop_that_has_stopped_is_named_with_its_age(self, clock: FakeClock) -> None:
        """One silent loop fails the check, whatever the others do."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        heartbeat.beat("loop-1")
        heartbeat.beat("loop-2")
        clock.advance(30.1)
        heartbeat.beat("loop-1")
        error = failure(heartbeat)
        assert error.message == "loop 'loop-2' has not beaten for 30.1 s, at most 30 s"
        assert error.detail == {"loops": {"loop-1": 0.0, "loop-2": 30.1}}

    def test_it_recovers_with_the_next_beat(self, clock: FakeClock) -> None:
        """Nothing of a late beat is remembered."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        heartbeat.beat()
        clock.advance(31)
        failure(heartbeat)
        heartbeat.beat()
        heartbeat()

    def test_the_oldest_of_many_late_loops_are_named(self, clock: FakeClock) -> None:
        """A message stays readable; the detail has them all."""
        heartbeat = Heartbeat(max_age=1, clock=clock.monotonic)
        for number in range(8):
            heartbeat.beat(f"loop-{number}")
            clock.advance(1)
        clock.advance(1)
        error = failure(heartbeat)
        assert error.message.startswith("loop 'loop-0' has not beaten for 9.0 s, at most 1 s; ")
        assert error.message.endswith("; and 3 more")
        assert error.detail is not None
        assert len(error.detail["loops"]) == 8  # type: ignore[arg-type]  # a dict

    def test_the_numbers_can_be_had_without_the_check(self, clock: FakeClock) -> None:
        """They are there while it fails, too."""
        heartbeat = Heartbeat(max_age=1, loops=["b"], clock=clock.monotonic)
        clock.advance(2)
        heartbeat.beat("a")
        clock.advance(3)
        assert heartbeat.snapshot() == {"a": 3.0, "b": 5.0}

    def test_a_clock_that_jumps_back_harms_nothing(self, clock: FakeClock) -> None:
        """An age is never negative, and the next beat is right again."""
        now = [1000.0]
        heartbeat = Heartbeat(max_age=5, clock=lambda: now[0])
        heartbeat.beat()
        now[0] = 10.0
        assert heartbeat() == {"loops": {"main": 0.0}}
        heartbeat.beat()
        now[0] = 16.0
        assert failure(heartbeat).message.startswith("loop 'main' has not beaten for 6.0 s")


class TestBeginning:
    def test_a_worker_is_not_born_failing(self, clock: FakeClock) -> None:
        """Until the grace has passed, nobody need have beaten."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        clock.advance(30)
        assert heartbeat() == {"loops": {}}

    def test_no_beat_at_all_is_seen(self, clock: FakeClock) -> None:
        """A consumer that dies before its first turn does not look well for ever."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        clock.advance(31)
        assert failure(heartbeat).message == "no loop has begun to beat in 31.0 s"

    def test_a_named_loop_that_never_began_is_seen(self, clock: FakeClock) -> None:
        """The others do not hide it."""
        heartbeat = Heartbeat(max_age=30, loops=["a", "b"], clock=clock.monotonic)
        heartbeat.beat("a")
        clock.advance(31)
        heartbeat.beat("a")
        error = failure(heartbeat)
        assert error.message == "loop 'b' has not begun to beat in 31.0 s"
        assert error.detail == {"loops": {"a": 0.0, "b": 31.0}}

    def test_the_grace_may_be_longer_or_shorter(self, clock: FakeClock) -> None:
        """It applies to the first beat alone."""
        patient = Heartbeat(max_age=5, grace=60, clock=clock.monotonic)
        strict = Heartbeat(max_age=60, grace=0, loops=["a"], clock=clock.monotonic)
        clock.advance(10)
        assert patient() == {"loops": {}}
        assert failure(strict).message == "loop 'a' has not begun to beat in 10.0 s"
        patient.beat()
        clock.advance(10)
        assert failure(patient).message == "loop 'main' has not beaten for 10.0 s, at most 5 s"


class TestEnding:
    def test_a_loop_that_ended_in_order_is_not_missed(self, clock: FakeClock) -> None:
        """The rest is still watched."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        heartbeat.beat("a")
        heartbeat.beat("b")
        heartbeat.stop("b")
        clock.advance(31)
        assert failure(heartbeat).message == "loop 'a' has not beaten for 31.0 s, at most 30 s"
        heartbeat.stop("a")
        assert heartbeat() == {"loops": {}}

    def test_a_loop_may_end_before_its_first_beat(self, clock: FakeClock) -> None:
        """Named at the start or not, it is no longer waited for."""
        for loops in (["main"], []):
            heartbeat = Heartbeat(max_age=30, loops=loops, clock=clock.monotonic)
            heartbeat.stop()
            clock.advance(31)
            assert heartbeat() == {"loops": {}}

    def test_a_beat_brings_it_back(self, clock: FakeClock) -> None:
        """A loop that was started again is watched again."""
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        heartbeat.stop()
        heartbeat.beat()
        clock.advance(31)
        failure(heartbeat)


class TestSharing:
    def test_32_threads_may_beat_begin_and_end_at_once(self) -> None:
        """No beat is lost, and no check between them fails or trips over a change."""
        heartbeat = Heartbeat(max_age=60)
        begin = threading.Barrier(THREADS + 1)

        def consume(number: int) -> None:
            begin.wait()
            for turn in range(1000):
                heartbeat.beat(f"loop-{number}")
                heartbeat.beat(f"job-{number}-{turn}")
                heartbeat.stop(f"job-{number}-{turn}")

        threads = [threading.Thread(target=consume, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            heartbeat()
        assert set(heartbeat.snapshot()) == {f"loop-{number}" for number in range(THREADS)}

    def test_it_serves_liveness_through_the_engine(self, clock: FakeClock) -> None:
        """Liveness takes it, since it asks nothing outside, and publishes what it found."""
        probes = Probes(clock=clock, observers=[])
        heartbeat = Heartbeat(max_age=30, clock=clock.monotonic)
        probes.liveness(heartbeat, max_age=0)
        heartbeat.beat("consumer")
        assert asyncio.run(probes.report(Probe.LIVENESS)).passing
        clock.advance(31)
        result = asyncio.run(probes.report(Probe.LIVENESS)).checks["heartbeat"]
        assert result.status is Status.UNHEALTHY
        assert result.message == "loop 'consumer' has not beaten for 31.0 s, at most 30 s"
        assert result.detail == {"loops": {"consumer": 31.0}}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_age": 0}, "max_age must be > 0 seconds, got 0"),
        ({"max_age": float("nan")}, "max_age must be > 0 seconds, got nan"),
        ({"max_age": True}, "max_age must be > 0 seconds, got True"),
        ({"max_age": "30"}, "max_age must be > 0 seconds, got '30'"),
        ({"max_age": float("inf")}, "max_age must be at most 1e9 seconds, got inf"),
        ({"max_age": 1, "grace": -1}, "grace must be >= 0 seconds, got -1"),
        ({"max_age": 1, "loops": "main"}, "loops must be the names .* got 'main'; pass a list"),
        ({"max_age": 1, "loops": [""]}, r"loops must be the names .* got \[''\]; pass a list"),
        ({"max_age": 1, "loops": [5]}, r"loops must be the names .* got \[5\]; pass a list"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    """At once, naming the option, the value and what would do."""
    with pytest.raises(ConfigurationError, match=f"^Heartbeat: {complaint}"):
        Heartbeat(**options)
