"""A worker that is forked begins anew, whatever its parent's threads were doing."""

from __future__ import annotations

from tests.forking import run_forking

PREAMBLE = """
import asyncio, os, sys, threading, time
from probekit.checks.worker import Heartbeat, Level, Progress
from probekit.exceptions import Unhealthy

now = 1000.0
clock = lambda: now
"""


def run(program: str) -> None:
    """Run a program with that before it; see `run_forking`."""
    run_forking(PREAMBLE, program)


def test_a_forked_heartbeat_waits_for_the_childs_own_loops() -> None:
    """Its parent's are not in it, and a grace that had run out begins again."""
    run("""
        heartbeat = Heartbeat(max_age=30, loops=["a"], clock=clock)
        heartbeat.beat("parent")
        heartbeat.stop("a")
        now += 1000

        def child():
            global now
            assert heartbeat() == {"loops": {"a": 0.0}}
            now += 31
            heartbeat.beat("b")
            try:
                heartbeat()
            except Unhealthy as error:
                assert error.message == "loop 'a' has not begun to beat in 31.0 s"
            else:
                raise AssertionError

        in_child(child)
        assert heartbeat.snapshot() == {"parent": 1000.0}
    """)


def test_a_forked_progress_counts_from_nought() -> None:
    """Even if a thread of the parent was counting at that moment."""
    run("""
        progress = Progress(max_failures=0)
        progress.failure()
        entered, leave = threading.Event(), threading.Event()

        def count():
            with progress._lock:
                entered.set()
                leave.wait(10)

        threading.Thread(target=count, daemon=True).start()
        entered.wait(10)

        def child():
            progress.success()
            assert progress()["successes"] == 1
            assert progress()["failures"] == 0

        in_child(child)
        leave.set()
        assert progress.snapshot()["failures"] == 1
    """)


def test_a_forked_level_keeps_the_number_and_fetches_its_own_next() -> None:
    """The parent's fetch, on a thread that the child does not have, is not waited for."""
    run("""
        steps = iter([7])
        hanging = threading.Event()

        def fetch():
            if os.getpid() != parent:
                return 8
            for step in steps:
                return step
            hanging.set()
            time.sleep(60)

        parent = os.getpid()
        level = Level(fetch, minimum=0, wait=0.2, clock=clock)
        assert asyncio.run(level())["value"] == 7
        in_child(lambda: level.snapshot()["value"] == 7 or 1 / 0)
        now += 60
        assert asyncio.run(level())["stale"] is True
        assert hanging.wait(10)

        def child():
            assert asyncio.run(level()) == {"value": 8, "age": 0.0, "stale": False}

        in_child(child)
    """)


def test_what_is_no_longer_used_is_not_renewed() -> None:
    """Checks that were thrown away cost a fork nothing."""
    run("""
        from probekit._core import forked
        for _ in range(100):
            Progress()
        assert len(forked._known) == 0
    """)
