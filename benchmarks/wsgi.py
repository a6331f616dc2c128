"""Flask on gunicorn with threads: what a probe costs, takes, and does when a check hangs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from tests.e2e.clients import get
from tests.waiting import wait_until
from tests.wsgi._servers import serve, workers

from benchmarks.figures import Figure, interleaved, ratio
from benchmarks.hung import HANGS, compare_p99, p99_of, probes
from benchmarks.requests import CONNECTIONS, REQUESTS, ROUNDS, load
from benchmarks.servers import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.servers import Server

__all__ = ["flask"]

ON = "gunicorn-gthread-8-threads"
"""One process; of the eight threads each connection holds one."""


def flask() -> list[Figure]:
    """Measure liveness beside a route, ten checks at once, and every way to hang."""
    figures = []
    with ExitStack() as stack:
        servers = {hang: stack.enter_context(serve(ON, "hung", HANG=hang)) for hang in HANGS}
        calm = stack.enter_context(serve(ON, "hung"))
        figures += [beside_a_route(calm), ten_checks(calm)]
        for hang, server in servers.items():
            figures += probes(server, f"Flask, {HANGS[hang]}")
        found = interleaved(
            {name: p99_of(server) for name, server in {**servers, "calm": calm}.items()},
            rounds=11,
        )
    return figures + compare_p99(found, "Flask, ")


def beside_a_route(server: Server) -> Figure:
    """Compare ``/healthz`` with a route of bare Flask's that answers the same."""
    wait_until(lambda: len(workers(server)) == 1, "the worker runs")
    [worker] = workers(server)
    cost = interleaved(
        {path: cost_of(server, worker, path) for path in ("/healthz", "/bare")}, rounds=ROUNDS
    )
    ours, theirs = cost["/healthz"], cost["/bare"]
    return Figure(
        name="/healthz / bare Flask route",
        measured=ratio(ours, theirs),
        target=1.15,
        how=f"{median(ours):.1f} / {median(theirs):.1f} us of CPU per request",
    )


def cost_of(server: Server, worker: int, path: str) -> Callable[[], float]:
    """Return what measures the microseconds of the worker's CPU per request."""

    def measure() -> float:
        before = cpu(worker)
        run(load(server.port, path))
        return (cpu(worker) - before) / (CONNECTIONS * REQUESTS) * 1e6

    return measure


def cpu(pid: int) -> float:
    """Return the seconds of CPU time that a process has used; see `Server.cpu`."""
    return time.clock_gettime((~pid << 3) | 2)


def ten_checks(server: Server) -> Figure:
    """Time a probe of ten checks that take 10 ms each."""
    times = []
    for _ in range(100):
        answer = get(server.port, "/ten/readyz")
        if answer.status != 200 or len(answer.json()["checks"]) != 10:
            raise RuntimeError(f"unexpected answer: {answer}")
        times.append(answer.seconds * 1000)
    return Figure(
        name="Flask, 10 sync checks of 10 ms, median",
        measured=median(times),
        unit="ms",
        target=20.0,
        how=f"100 probes, none cached; worst {max(times):.1f} ms",
    )
