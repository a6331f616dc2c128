"""One empty database for each test, reached through each driver, sync and async."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
import sqlalchemy as sa
from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from probekit.checks.sqlalchemy import AsyncEngineCheck, EngineCheck, SQLAlchemyCheck

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from ._postgres import PostgresServer
    from ._servers import Server

SQLITE = ["sqlite+pysqlite", "sqlite+aiosqlite"]
POSTGRES = ["postgresql+psycopg", "postgresql+psycopg_async", "postgresql+asyncpg"]
SYNC = ["sqlite+pysqlite", "postgresql+psycopg"]

MODULES = {
    "sqlite+pysqlite": ("sqlite3", "sqlalchemy"),
    "sqlite+aiosqlite": ("aiosqlite", "aiosqlite"),
    "postgresql+psycopg": ("psycopg", "psycopg[binary]"),
    "postgresql+psycopg_async": ("psycopg", "psycopg[binary]"),
    "postgresql+asyncpg": ("asyncpg", "asyncpg"),
}
"""What to import for each driver, and what brings it."""

ROWS = "SELECT id, beat FROM probekit_writable"
UPDATE = "UPDATE probekit_writable SET beat = 0"

_serial = count()


async def run(check: Callable[[], Any]) -> Any:
    """Run a check as probekit does: async ones on the loop, others on a thread."""
    if inspect.iscoroutinefunction(type(check).__call__):
        return await check()
    return await to_thread.run_sync(check, abandon_on_cancel=True)


def checked_out(engine: sa.Engine | AsyncEngine) -> int:
    """Return how many connections of the pool are in use."""
    assert isinstance(engine.pool, sa.QueuePool)
    return engine.pool.checkedout()


async def create_table(check: EngineCheck | AsyncEngineCheck) -> None:
    """Create the table of the check, whichever kind it is."""
    if isinstance(check, AsyncEngineCheck):
        await check.create_table()
    else:
        await to_thread.run_sync(check.create_table)


async def make(
    database: Database, *, writable: bool = True, **options: Any
) -> EngineCheck | AsyncEngineCheck:
    """Return a check on an engine of its own, its table created if it writes."""
    check = SQLAlchemyCheck(await database.engine(**options), writable=writable)
    if writable:
        await create_table(check)
    return check


@dataclass
class Database:
    """An empty database, and how the application and the test reach it.

    Attributes:
        driver: SQLAlchemy's name of dialect and driver, for the application.
        url: Where the application finds it.
        outside: A sync engine for the test alone, without a pool, in autocommit.
    """

    driver: str
    url: sa.URL
    outside: sa.Engine
    engines: list[sa.Engine | AsyncEngine] = field(default_factory=list)

    @property
    def is_async(self) -> bool:
        """Whether the application uses an asyncio driver."""
        return self.driver.endswith(("async", "asyncpg", "aiosqlite"))

    async def engine(self, *, user: str | None = None, **options: Any) -> sa.Engine | AsyncEngine:
        """Return a new engine as the application would make it; it is disposed of at the end."""
        url = self.url.set(username=user) if user else self.url
        if self.driver.endswith("asyncpg"):
            # It looks for certificates in the home directory on the loop, which blockbuster sees.
            options["connect_args"] = {"ssl": False} | options.get("connect_args", {})
        if self.driver.endswith("aiosqlite"):
            # SQLAlchemy 2.0 makes no pool for a file, 2.1 does.
            options = {"poolclass": sa.AsyncAdaptedQueuePool} | options
        # On a thread: it looks for the file of a SQLite database.
        engine: sa.Engine | AsyncEngine
        if self.is_async:
            engine = await to_thread.run_sync(partial(create_async_engine, url, **options))
        else:
            engine = await to_thread.run_sync(partial(sa.create_engine, url, **options))
        self.engines.append(engine)
        return engine

    async def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement from outside and return the rows, if it has any."""
        return await to_thread.run_sync(self.ask_now, statement)

    def ask_now(self, statement: str) -> list[tuple[Any, ...]]:
        """Do as `ask`, without a loop."""
        with self.outside.connect() as connection:
            result = connection.execute(sa.text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []

    async def dispose(self) -> None:
        """Close every connection of the application."""
        for engine in self.engines:
            if isinstance(engine, AsyncEngine):
                await engine.dispose()
            else:
                await to_thread.run_sync(engine.dispose)


@asynccontextmanager
async def held(engine: sa.Engine | AsyncEngine) -> AsyncGenerator[None]:
    """Hold one connection of the pool inside the block, as a busy request does."""
    if isinstance(engine, AsyncEngine):
        async with engine.connect():
            yield
        return
    connection = await to_thread.run_sync(engine.connect)
    try:
        yield
    finally:
        await to_thread.run_sync(connection.close)


@asynccontextmanager
async def paused(server: Server) -> AsyncGenerator[None]:
    """Freeze a server inside the block."""
    try:
        await to_thread.run_sync(server.pause)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(server.resume)


async def run_while_hung(check: Callable[[], Any], server: Server) -> bool:
    """Run a check on a server that stands still at first; return whether it waited for that."""
    done = anyio.Event()

    async def late() -> None:
        await run(check)
        done.set()

    async with paused(server), anyio.create_task_group() as tasks:
        tasks.start_soon(late)
        with anyio.move_on_after(0.3) as waiting:
            await done.wait()
        await to_thread.run_sync(server.resume)
    return waiting.cancelled_caught and done.is_set()


@asynccontextmanager
async def locked(database: Database, statement: str) -> AsyncGenerator[None]:
    """Hold what the statement locks inside the block, from outside."""
    connection = await to_thread.run_sync(database.outside.connect)
    try:
        await to_thread.run_sync(connection.exec_driver_sql, "BEGIN")
        await to_thread.run_sync(connection.exec_driver_sql, statement)
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(connection.exec_driver_sql, "ROLLBACK")
            await to_thread.run_sync(connection.close)


def outside(url: sa.URL) -> sa.Engine:
    """Return a sync engine that keeps no connection."""
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


@asynccontextmanager
async def sqlite(driver: str, directory: Path) -> AsyncGenerator[Database]:
    """Make a SQLite file, which is deleted with its directory."""
    path = str(directory / "app.db")
    url = sa.URL.create(driver, database=path)
    seen = await to_thread.run_sync(outside, sa.URL.create("sqlite+pysqlite", database=path))
    database = Database(driver, url, seen)
    yield database
    await database.dispose()


@asynccontextmanager
async def postgres(driver: str, server: PostgresServer) -> AsyncGenerator[Database]:
    """Make a database in a running server, and drop it afterwards."""
    name = f"test_{next(_serial)}"
    make = partial(sa.URL.create, username="postgres", password="not-secret", host="127.0.0.1")
    maintenance = Database(
        driver,
        make(driver, port=server.port, database="postgres"),
        outside(make("postgresql+psycopg", port=server.port, database="postgres")),
    )
    await maintenance.ask(f"CREATE DATABASE {name} STRATEGY file_copy")
    database = Database(
        driver,
        make(driver, port=server.port, database=name),
        outside(make("postgresql+psycopg", port=server.port, database=name)),
    )
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.dispose()
            await maintenance.ask(f"DROP DATABASE {name} WITH (FORCE)")
