"""What is told of the workers of a server."""

from __future__ import annotations

from probekit._lifecycle.pod.records import Worker
from probekit._web.workers import workers_body, workers_text

MOVING = Worker(7, started=0.0, at=99.5, ready=True, draining=False, requests=1, loop_lag=0.002)
STUCK = Worker(
    8,
    started=0.0,
    at=100.0,
    ready=False,
    draining=True,
    jobs=2,
    loop_lag=9.1,
    stuck="blocked in a call at orders.py:22 in handler (Task-5)",
)


def test_a_worker_that_is_stuck_says_so_in_json() -> None:
    """With what it is stuck in; null if it moves."""
    shown = workers_body([MOVING, STUCK], 100.0)["workers"]
    assert [worker["stuck"] for worker in shown] == [None, STUCK.stuck]


def test_it_says_so_in_its_line() -> None:
    """There is a line for each of several workers, and none for one that is alone."""
    assert workers_text([MOVING, STUCK], 100.0) == (
        "worker 7: ready, requests 1, websockets 0, jobs 0, loop 0.002 s late, said 0.5 s ago\n"
        "worker 8: not ready, draining, requests 0, websockets 0, jobs 2, loop 9.1 s late, "
        "said 0.0 s ago; stuck: blocked in a call at orders.py:22 in handler (Task-5)\n"
    )
    assert workers_text([STUCK], 100.0) == ""
