from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until

from .clients import Connection, get
from .servers import serve

if TYPE_CHECKING:
    from .servers import Server

ON = ["uvicorn-asyncio", "uvicorn-uvloop", "hypercorn-trio"]

pytestmark = [pytest.mark.parametrize("kind", ["async", "sync"]), pytest.mark.parametrize("on", ON)]


def runs(server: Server) -> Any:
    """Return what the application noted of its checks."""
    return get(server.port, "/runs").json()


async def hammer(port: int, *, connections: int, seconds: float) -> list[int]:
    """Ask for readiness without pause on so many connections and return every status."""
    deadline = time.monotonic() + seconds
    statuses: list[int] = []

    async def one() -> None:
        connection = await Connection.open(port)
        while time.monotonic() < deadline:
            statuses.append((await connection.get("/readyz"))[0])
        await connection.close()

    async with asyncio.timeout(seconds + 10), asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(one())
    return statuses


async def ask_together(port: int, *, callers: int) -> list[int]:
    """Let so many callers, connected already, ask in the same moment; return every status."""
    async with asyncio.timeout(10):
        connections = [await Connection.open(port) for _ in range(callers)]
        for connection in connections:
            connection.send("/readyz")
        statuses = [(await connection.receive())[0] for connection in connections]
        for connection in connections:
            await connection.close()
    return statuses


async def ask_and_vanish(port: int, *, callers: int, after: float) -> None:
    """Let so many callers ask and break their connections before there is an answer."""
    connections = [await Connection.open(port) for _ in range(callers)]
    for connection in connections:
        connection.send("/readyz")
    await asyncio.sleep(after)
    for connection in connections:
        connection.abort()


def test_a_flood_reaches_the_dependency_once_per_max_age(on: str, kind: str) -> None:
    """64 connections that ask without pause make each check run once per ``max_age``."""
    with serve("counted", on, KIND=kind, MAX_AGE="0.4") as server:
        statuses = asyncio.run(hammer(server.port, connections=64, seconds=2.0))

        assert set(statuses) == {200}
        assert len(statuses) > 200
        for starts in runs(server)["starts"].values():
            assert len(starts) >= 2  # a result ages under a flood, too
            assert all(later - earlier >= 0.4 for earlier, later in pairwise(starts))


def test_callers_of_a_cold_cache_share_one_run(on: str, kind: str) -> None:
    """100 callers at once, with no result yet, make each check run once."""
    with serve("counted", on, KIND=kind, SECONDS="0.1", MAX_AGE="30") as server:
        assert asyncio.run(ask_together(server.port, callers=100)) == [200] * 100

        told = runs(server)
        assert {len(starts) for starts in told["starts"].values()} == {1}
        assert set(told["ends"].values()) == {1}


def test_who_leaves_neither_ends_nor_fails_the_run(on: str, kind: str) -> None:
    """A run goes on although everybody who asked has gone; who asks next gets its result."""
    # Long enough that all of them have come, also on a machine that is busy with other things.
    with serve("counted", on, KIND=kind, SECONDS="0.75", MAX_AGE="30") as server:
        asyncio.run(ask_and_vanish(server.port, callers=8, after=0.4))
        wait_until(lambda: len(runs(server)["cancelled"]) == 8, "the requests are cancelled")

        answer = get(server.port, "/readyz")
        assert (answer.status, answer.json()["status"]) == (200, "healthy")
        told = runs(server)
        assert {len(starts) for starts in told["starts"].values()} == {1}
        assert set(told["ends"].values()) == {1}
        assert "Traceback" not in server.log()
