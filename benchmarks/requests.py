"""A probe over HTTP: the server's CPU time per request, against the least that ASGI can do."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.e2e.clients import Connection

from benchmarks.figures import Figure, interleaved, ratio
from benchmarks.servers import on_uvicorn, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.servers import Server

__all__ = ["liveness", "readiness"]

APPS = Path(__file__).with_name("apps.py")
CONNECTIONS = 8
REQUESTS = 250
"""On each connection, one after the other."""
ROUNDS = 15


def liveness() -> list[Figure]:
    """Compare ``/healthz`` with raw ASGI and with a route of Starlette's."""
    cost = costs("/healthz", ["probekit", "raw-liveness", "starlette"])
    return [
        compare("/healthz / raw ASGI app", cost, "raw-liveness", target=1.25),
        compare("/healthz / bare Starlette", cost, "starlette", target=1.0),
    ]


def readiness() -> list[Figure]:
    """Compare ``/readyz``, ten checks with fresh results, with raw ASGI."""
    cost = costs("/readyz", ["probekit", "raw-readiness"])
    return [compare("/readyz, fresh / raw ASGI app", cost, "raw-readiness", target=1.4)]


def costs(path: str, apps: list[str]) -> dict[str, list[float]]:
    """Return the microseconds of CPU per request that the servers of ``apps`` use, by round."""
    with ExitStack() as stack:
        servers = {app: stack.enter_context(on_uvicorn(APPS, APP=app)) for app in apps}
        measures = {app: cost_of(server, path) for app, server in servers.items()}
        return interleaved(measures, rounds=ROUNDS)


def cost_of(server: Server, path: str) -> Callable[[], float]:
    """Return what measures the microseconds of CPU per request."""

    def measure() -> float:
        before = server.cpu()
        run(load(server.port, path))
        return (server.cpu() - before) / (CONNECTIONS * REQUESTS) * 1e6

    return measure


async def load(port: int, path: str) -> None:
    """Send the requests of one round."""

    async def one() -> None:
        connection = await Connection.open(port)
        for _ in range(REQUESTS):
            status, _ = await connection.get(path)
            if status != 200:
                raise RuntimeError(f"{path} answered {status}")
        await connection.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def compare(name: str, cost: dict[str, list[float]], to: str, *, target: float) -> Figure:
    """Return the figure of probekit beside another application."""
    ours, theirs = cost["probekit"], cost[to]
    return Figure(
        name=name,
        measured=ratio(ours, theirs),
        target=target,
        how=f"{median(ours):.1f} / {median(theirs):.1f} us of CPU per request",
    )
