"""The ready-made checks on real servers, while something blocks the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from redis import asyncio as aio

from probekit import Probes, Report, Status
from probekit.checks.redis import RedisCheck

from ._databases import make, paused, postgres, sqlite
from ._redis import Clients

if TYPE_CHECKING:
    from pathlib import Path

    from ._postgres import PostgresServer
    from ._servers import RedisServer

pytestmark = pytest.mark.anyio


async def ask_blocked(probes: Probes, *, after: float, seconds: float) -> Report:
    """Ask for readiness while another task holds the loop."""
    found: list[Report] = []

    async def probe() -> None:
        found.append(await probes.report())

    async with anyio.create_task_group() as group:
        group.start_soon(probe)
        await anyio.sleep(after)
        time.sleep(seconds)  # noqa: ASYNC251 - this is what is tested
    return found[0]


def found(report: Report) -> dict[str, Any]:
    """Return what is wrong."""
    return {
        name: result.message
        for name, result in report.checks.items()
        if result.status is Status.UNHEALTHY
    }


async def test_five_real_dependencies_outlive_a_blocked_loop(
    postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Cold connections and warm ones, with timeouts of the clients' own that ring meanwhile."""
    pytest.importorskip("asyncpg", reason="no driver; get it with: pip install asyncpg")
    clients = Clients(aio, aio.retry.Retry)
    probes = Probes(observers=[], drain_delay=0)
    async with (
        postgres("postgresql+asyncpg", postgres_server) as fast,
        postgres("postgresql+psycopg_async", postgres_server) as other,
        sqlite("sqlite+aiosqlite", tmp_path) as file,
        probes.lifespan(),
    ):
        limits = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
        reader, writer = [await clients(redis_server.port, **limits) for _ in range(2)]
        probes.readiness(await make(fast), name="asyncpg", max_age=0)
        probes.readiness(await make(other), name="psycopg", max_age=0)
        probes.readiness(await make(file), name="sqlite", max_age=0)
        probes.readiness(RedisCheck(reader), name="redis", max_age=0)
        probes.readiness(RedisCheck(writer, writable=True), name="redis writes", max_age=0)
        for after in (0.0, 0.002, 0.005):
            assert found(await ask_blocked(probes, after=after, seconds=1.2)) == {}
            assert (await probes.report()).status is Status.HEALTHY
        await clients.close()


async def test_an_answer_that_came_while_the_loop_stood_still_is_no_timeout(
    redis_server: RedisServer,
) -> None:
    """The client's own timer rings before the answer is read."""
    clients = Clients(aio, aio.retry.Retry)
    probes = Probes(observers=[], drain_delay=0)
    client = await clients(redis_server.port, socket_timeout=0.5)
    probes.readiness(RedisCheck(client), max_age=0)
    reports: list[Report] = []

    async def probe() -> None:
        reports.append(await probes.report())

    async with probes.lifespan(), anyio.create_task_group() as group:
        await probe()
        async with paused(redis_server):
            group.start_soon(probe)
            await anyio.sleep(0.1)
            redis_server.resume()
            time.sleep(1)  # noqa: ASYNC251 - this is what is tested
            while len(reports) < 2:
                await anyio.sleep(0.01)
        await probe()
    assert [report.status for report in reports] == [Status.HEALTHY] * 3
    await clients.close()


async def test_a_real_dependency_that_hangs_is_found_out(redis_server: RedisServer) -> None:
    """A loop that stands still with every probe does not hide it."""
    clients = Clients(aio, aio.retry.Retry)
    probes = Probes(observers=[], drain_delay=0)
    client = await clients(redis_server.port, socket_timeout=0.1)
    probes.readiness(RedisCheck(client), max_age=0, timeout=0.2)
    async with probes.lifespan():
        assert (await probes.report()).passing
        async with paused(redis_server):
            reports = [await ask_blocked(probes, after=0.01, seconds=0.4) for _ in range(4)]
    assert [reports[0].status, reports[-1].status] == [Status.HEALTHY, Status.UNHEALTHY]
    await clients.close()
