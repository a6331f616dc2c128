"""Workers that get SIGTERM amid their jobs, as processes of their own."""

from __future__ import annotations

import signal
import time

import pytest

from tests.lifecycle._signals import Program
from tests.waiting import wait_until

from ._scripts import LATE, leaving, tasks, threads, undelayed, unwilling

SLACK = 10.0
"""Seconds that a busy machine may add."""


def words(run: Program) -> set[str]:
    """Return all that a program still says."""
    found = set[str]()
    while word := run.said():
        found.add(word)
    return found


@pytest.mark.timeout(60)
def test_short_jobs_end_and_long_ones_are_given_back() -> None:
    """Where the signal would end the process on the spot: within linger, and then by on_abandon."""
    with Program(threads, 1.5, "short", "long", "raises") as run:
        assert run.said() == "working"
        sent = run.signal()
        assert words(run) == {"ended short", "back long"}
        assert run.end() == -signal.SIGTERM
        assert 1.8 <= time.monotonic() - sent < 1.8 + LATE + SLACK
        log = run.log()
    assert "so what is in flight is done first, within 1.5 s" in log
    assert ": job long; it goes to tests.jobs._scripts:" in log
    assert "job raises is not given back: tests.jobs._scripts:" in log
    assert "LookupError: raises" in log
    assert ": job short; it goes" not in log


@pytest.mark.timeout(60)
def test_one_that_hangs_does_not_keep_the_process() -> None:
    """Linger and five seconds, and it is named; the others are given back all the same."""
    with Program(threads, 0.2, "hangs", "long") as run:
        assert run.said() == "working"
        sent = run.signal()
        assert words(run) == {"back long"}
        assert run.end() == -signal.SIGTERM
        assert 0.5 + LATE <= time.monotonic() - sent < 0.5 + LATE + SLACK
        log = run.log()
    assert "on_abandon has not come back within 5 s, and nobody waits for it: " in log
    assert "(take) with job hangs" in log
    assert "job long has been given to tests.jobs._scripts:" in log


@pytest.mark.timeout(60)
def test_a_second_signal_ends_the_process_while_it_gives_back() -> None:
    """Whoever insists is not kept waiting."""
    with Program(threads, 0.0, "hangs", "long") as run:
        assert run.said() == "working"
        run.signal()
        assert run.said() == "back long"
        time.sleep(1.1)  # or it would be a duplicate of the first
        sent = run.signal()
        assert run.end() == -signal.SIGTERM
        assert time.monotonic() - sent < 3
        assert "has not come back" not in run.log()


@pytest.mark.timeout(60)
def test_a_loop_that_leaves_when_it_drains_ends_in_order() -> None:
    """Its lifespan waits for its tasks; what is left is given back on its loop before it closes."""
    with Program(tasks, 2.0) as run:
        assert run.said() == "working"
        run.signal()
        said = [run.said() for _ in range(4)]
        assert run.end() == 0
        log = run.log()
    assert said == ["left 2", "ended short", "back long", "closed"]
    assert "the application ends within 2.0 s, after job handle short for " in log
    assert "letting the signal" not in log


@pytest.mark.timeout(60)
def test_a_signal_sent_twice_does_not_cut_what_the_first_one_began() -> None:
    """A supervisor passes on what the whole group has had already: the block is being left then."""
    with Program(leaving, 0.5, 1.0) as run:
        assert run.said() == "working"
        run.signal()
        wait_until(lambda: "the application ends within" in run.log(), "it leaves the block")
        run.signal()
        assert [run.said() for _ in range(3)] == ["taking long", "back long", "left"]
        assert run.end() == 0
        assert "letting the signal" not in run.log()


@pytest.mark.timeout(60)
def test_without_a_delay_a_signal_sent_twice_is_one_too() -> None:
    """What is in flight is given back all the same: there is no server that would wait for it."""
    with Program(undelayed, 1.0) as run:
        assert run.said() == "working"
        run.signal()
        time.sleep(0.01)
        run.signal()
        assert [run.said() for _ in range(2)] == ["back long", "left"]
        assert run.end() == 0


@pytest.mark.timeout(60)
def test_a_signal_does_not_cut_what_an_end_of_its_own_gives_back() -> None:
    """Who leaves by himself has as long as one who is told to."""
    with Program(leaving, 0.0, 1.0) as run:
        assert [run.said() for _ in range(2)] == ["working", "taking long"]
        run.signal()
        assert [run.said() for _ in range(2)] == ["back long", "left"]
        assert run.end() == 0
        assert "letting the signal" not in run.log()


@pytest.mark.timeout(60)
def test_what_is_begun_while_others_are_given_back_is_given_back_too() -> None:
    """Before the signal ends the process."""
    with Program(unwilling, 0.3) as run:
        assert run.said() == "working"
        run.signal()
        assert [run.said() for _ in range(2)] == ["back first", "back second"]
        assert run.end() == -signal.SIGTERM
