"""A check that hangs: how long its probe takes, and what the application's other routes feel."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from tests.e2e.clients import Connection, volley

from benchmarks.figures import Figure, interleaved, p99
from benchmarks.servers import on_uvicorn, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.servers import Server

__all__ = ["hung"]

HANGS = {"async": "async", "sync": "sync", "stubborn": "async, swallows cancellation"}
REQUESTS = 1000
ROUNDS = 11


def hung() -> list[Figure]:
    """Measure the probe of each kind of hung check, and another route beside it."""
    figures = []
    with ExitStack() as stack:
        calm = stack.enter_context(on_uvicorn("hung", HANG=""))
        servers = {hang: stack.enter_context(on_uvicorn("hung", HANG=hang)) for hang in HANGS}
        for hang, server in servers.items():
            figures += probes(server, HANGS[hang])
        found = interleaved(
            {name: p99_of(server) for name, server in {**servers, "calm": calm}.items()},
            rounds=ROUNDS,
        )
    return figures + compare_p99(found)


def compare_p99(found: dict[str, list[float]], where: str = "") -> list[Figure]:
    """Return the figures of another route beside each kind of hung check."""
    before = median(found["calm"])
    figures = []
    for hang, words in HANGS.items():
        after = median(found[hang])
        figures.append(
            Figure(
                name=f"another route's p99, hung check / none ({where}{words})",
                measured=after / before,
                target=1.3,
                how=f"{after * 1000:.2f} / {before * 1000:.2f} ms",
            )
        )
    return figures


def probes(server: Server, words: str) -> list[Figure]:
    """Ask 50 times, 5 at a time, a probe whose check hangs and may take 0.5 s."""
    answers = volley(server.port, "/readyz", count=50, at_a_time=5)
    if {answer.status for answer in answers} != {503}:
        raise RuntimeError(f"unexpected answers: {answers}")
    times = [answer.seconds for answer in answers]
    name, how = f"hung check ({words})", "50 probes, 5 at a time, timeout 0.5 s"
    return [
        Figure(name=f"{name}, median", measured=median(times), unit="s", target=0.55, how=how),
        Figure(name=f"{name}, worst", measured=max(times), unit="s", target=0.7, how=how),
    ]


def p99_of(server: Server) -> Callable[[], float]:
    """Return what measures the p99 of a route while probers ask for readiness."""
    return lambda: run(slowest(server.port))


async def slowest(port: int) -> float:
    """Return the seconds that one request in a hundred exceeds."""
    connection = await Connection.open(port)
    times: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        probers = [tasks.create_task(prober(port)) for _ in range(5)]
        for _ in range(REQUESTS):
            began = time.perf_counter()
            await connection.get("/")
            times.append(time.perf_counter() - began)
        for task in probers:
            task.cancel()
    await connection.close()
    return p99(times)


async def prober(port: int) -> None:
    """Ask for readiness twenty times a second until cancelled."""
    connection = await Connection.open(port)
    try:
        while True:
            await connection.get("/readyz")
            await asyncio.sleep(0.05)
    finally:
        connection.abort()
