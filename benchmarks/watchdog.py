"""What the watchdog and its counters cost: the server's CPU time with and without them."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from tests.e2e.clients import Connection

from benchmarks.figures import Figure, interleaved, ratio
from benchmarks.servers import on_uvicorn, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.servers import Server

__all__ = ["watchdog"]

APPLICATIONS = ("watched", "unwatched", "uncounted", "bare")
APPS = Path(__file__).with_name("apps.py")
CONNECTIONS = 64
REQUESTS = 40
"""On each connection, one after the other."""
ROUNDS = 20
"""Each with fresh processes: where the memory of one happens to lie is worth a per cent or two."""
TIMES = 4
"""How often a round measures each server, after once for warming up."""
IDLE = 2.0
"""Seconds in which nothing is asked."""
IDLE_ROUNDS = 5


def watchdog() -> list[Figure]:
    """Compare an application that is watched with others that have less, down to no probes."""
    rounds = [one_round() for _ in range(ROUNDS)]
    busy = {app: [each[app] for each in rounds] for app in APPLICATIONS}
    with servers() as started:
        idle = interleaved(
            {app: at_rest(each) for app, each in started.items()}, rounds=IDLE_ROUNDS
        )
    watched, unwatched, uncounted, bare = (busy[app] for app in APPLICATIONS)
    added = [one - other for one, other in zip(watched, bare, strict=True)]
    resting = zip(idle["watched"], idle["unwatched"], strict=True)
    more = median(one - other for one, other in resting)
    return [
        Figure(
            name="a request at 64 connections, watched / unwatched",
            measured=ratio(watched, unwatched),
            target=1.03,
            how=f"{median(watched):.1f} / {median(unwatched):.1f} us of CPU per request",
        ),
        Figure(
            name="the same, watched and counted / neither",
            measured=ratio(watched, uncounted),
            target=1.03,
            how=f"{median(watched):.1f} / {median(uncounted):.1f} us of CPU per request",
        ),
        Figure(
            name="the same, watched and counted / without the middleware",
            measured=ratio(watched, bare),
            how=f"{median(watched):.1f} / {median(bare):.1f} us of CPU per request, "
            f"{median(added):.1f} us more",
        ),
        Figure(
            name="idle, watched - unwatched",
            measured=more,
            unit="%",
            target=0.3,
            how=f"of a CPU: {median(idle['watched']):.2f} - {median(idle['unwatched']):.2f} %, "
            f"and {median(idle['bare']):.2f} % without the middleware",
        ),
    ]


@contextmanager
def servers() -> Iterator[dict[str, Server]]:
    """Run a server for each application."""
    with ExitStack() as stack:
        yield {app: stack.enter_context(on_uvicorn(APPS, APP=app)) for app in APPLICATIONS}


def one_round() -> dict[str, float]:
    """Return the microseconds of CPU per request of each application."""
    with servers() as started:
        measures = {app: under_load(each) for app, each in started.items()}
        return {app: fmean(found) for app, found in interleaved(measures, rounds=TIMES).items()}


def under_load(server: Server) -> Callable[[], float]:
    """Return what measures the microseconds of CPU per request."""

    def measure() -> float:
        before = server.cpu()
        run(load(server.port))
        return (server.cpu() - before) / (CONNECTIONS * REQUESTS) * 1e6

    return measure


def at_rest(server: Server) -> Callable[[], float]:
    """Return what measures the share of a CPU in per cent."""

    def measure() -> float:
        before = server.cpu()
        time.sleep(IDLE)
        return (server.cpu() - before) / IDLE * 100

    return measure


async def load(port: int) -> None:
    """Send the requests of one round."""

    async def one() -> None:
        connection = await Connection.open(port)
        for _ in range(REQUESTS):
            status, _ = await connection.get("/hello")
            if status != 200:
                raise RuntimeError(f"/hello answered {status}")
        await connection.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
