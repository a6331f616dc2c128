"""`SQLAlchemyCheck`: how it is made, reads and writes, through sync and async drivers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sqlalchemy as sa
from anyio import to_thread
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from probekit.checks.sqlalchemy import AsyncEngineCheck, EngineCheck, SQLAlchemyCheck
from probekit.exceptions import ConfigurationError, Unhealthy

from ._databases import (
    POSTGRES,
    ROWS,
    SYNC,
    Database,
    checked_out,
    create_table,
    held,
    make,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.anyio

on_postgres = pytest.mark.parametrize("driver", POSTGRES, indirect=True)
on_sync = pytest.mark.parametrize("driver", SYNC, indirect=True)


class TestConstruction:
    async def test_the_engine_decides_how_the_check_runs(self, database: Database) -> None:
        """An Engine makes a sync check and an AsyncEngine an async one, both of one family."""
        check = SQLAlchemyCheck(await database.engine())
        assert isinstance(check, SQLAlchemyCheck)
        assert isinstance(check, AsyncEngineCheck if database.is_async else EngineCheck)
        assert inspect.iscoroutinefunction(type(check).__call__) is database.is_async

    def test_it_says_that_it_is_external_and_how_it_is_called(self) -> None:
        """The registry learns from the class what liveness must refuse, and a default name."""
        assert SQLAlchemyCheck.external is True
        assert SQLAlchemyCheck.name == "database"

    def test_no_address_is_shown(self) -> None:
        """The repr of a check has neither the password nor the host in it."""
        engine = sa.create_engine("postgresql+psycopg://me:hunter2@db.example/app")
        shown = repr(SQLAlchemyCheck(engine, writable=True))
        assert shown == "EngineCheck(writable=True, table='probekit_writable', schema=None)"

    @pytest.mark.parametrize(
        "wrong",
        [
            "postgresql://me:hunter2@db.example/app",
            sa.make_url("postgresql://me:hunter2@db.example/app"),
            Session(),
            sessionmaker(),
            None,
            sa.create_engine,
        ],
        ids=lambda wrong: type(wrong).__name__,
    )
    def test_anything_but_an_engine_is_refused(self, wrong: Any) -> None:
        """The error names the type and the remedy, and never the value with its password."""
        with pytest.raises(ConfigurationError, match=r"create_engine\(\).*get_bind") as caught:
            SQLAlchemyCheck(wrong)
        assert f"got {type(wrong).__name__};" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_the_sync_face_of_an_async_engine_is_refused(self) -> None:
        """An Engine with an asyncio driver cannot work on a thread, and the error says so."""
        engine = create_async_engine("sqlite+aiosqlite://")
        with pytest.raises(ConfigurationError, match="aiosqlite, an asyncio driver; pass the Asyn"):
            SQLAlchemyCheck(engine.sync_engine)

    def test_the_kind_is_not_for_the_caller_to_choose(self) -> None:
        """A kind that does not fit the engine is refused, and so is a subclass."""
        engine = create_async_engine("sqlite+aiosqlite://")
        with pytest.raises(ConfigurationError, match="EngineCheck cannot check a AsyncEngine"):
            EngineCheck(engine)  # type: ignore[arg-type] # that is the test

        class Mine(SQLAlchemyCheck):
            pass

        with pytest.raises(ConfigurationError, match="Mine cannot check a AsyncEngine"):
            Mine(engine)

    @pytest.mark.parametrize("table", ["", "  ", None, 5])
    def test_a_table_without_a_name_is_refused(self, table: Any) -> None:
        """A name that is none is refused when the check is made."""
        with pytest.raises(ConfigurationError, match="must be the name of a table"):
            SQLAlchemyCheck(sa.create_engine("sqlite://"), writable=True, table=table)

    def test_a_table_name_that_the_database_forbids_is_refused(self) -> None:
        """A name that is too long for the dialect is refused when the check is made."""
        engine = sa.create_engine("postgresql+psycopg://")
        with pytest.raises(ConfigurationError, match="maximum length"):
            SQLAlchemyCheck(engine, writable=True, table="t" * 64)

    def test_without_sqlalchemy_the_install_line_is_shown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Importing the module without its package prints what to install."""
        monkeypatch.delitem(sys.modules, "probekit.checks.sqlalchemy")
        monkeypatch.setitem(sys.modules, "sqlalchemy", None)
        with pytest.raises(ImportError, match=r"pip install 'probekit-health\[sqlalchemy\]'"):
            import probekit.checks.sqlalchemy  # noqa: F401 - importing is the test

    def test_an_engine_needs_no_greenlet(self) -> None:
        """Without greenlet SQLAlchemy's asyncio extension is missing, and nobody misses it."""
        script = """
import sys
from pathlib import Path
sys.modules["greenlet"] = None
import sqlalchemy
from probekit.checks.sqlalchemy import SQLAlchemyCheck
print(SQLAlchemyCheck(sqlalchemy.create_engine("sqlite://"))())
"""
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=15
        )
        assert done.stdout == "{'dialect': 'sqlite'}\n"


class TestReading:
    async def test_a_reachable_database_is_healthy(self, database: Database) -> None:
        """It says the dialect and how full the pool is, and gives the connection back."""
        engine = await database.engine(pool_size=3)
        assert await run(SQLAlchemyCheck(engine)) == {
            "dialect": database.driver.partition("+")[0],
            "pool_size": 3,
            "in_use": 0,
        }
        assert checked_out(engine) == 0

    async def test_a_pool_without_a_size_has_none_to_show(self, database: Database) -> None:
        """Only a pool that has a size is described."""
        check = SQLAlchemyCheck(await database.engine(poolclass=sa.NullPool))
        assert await run(check) == {"dialect": database.driver.partition("+")[0]}

    def test_a_database_in_memory_is_checked_on_its_one_connection(self) -> None:
        """The single connection of a StaticPool serves the check too."""
        engine = sa.create_engine(
            "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
        )
        check = SQLAlchemyCheck(engine, writable=True)
        check.create_table()
        assert check() == {"dialect": "sqlite"}
        engine.dispose()

    def test_a_file_that_cannot_be_opened_fails(self, tmp_path: Path) -> None:
        """The driver's own error comes through, for the core to redact."""
        check = SQLAlchemyCheck(sa.create_engine(f"sqlite:///{tmp_path}/missing/app.db"))
        with pytest.raises(OperationalError):
            check()


class TestPool:
    async def test_an_exhausted_pool_is_named(self, database: Database) -> None:
        """When requests hold every connection the check says so, and recovers with them."""
        engine = await database.engine(pool_size=1, max_overflow=0, pool_timeout=0.05)
        check = SQLAlchemyCheck(engine)
        async with held(engine):
            with pytest.raises(Unhealthy, match="pool is exhausted") as caught:
                await run(check)
        assert caught.value.detail == {
            "dialect": database.driver.partition("+")[0],
            "pool_size": 1,
            "in_use": 1,
        }
        assert (await run(check))["in_use"] == 0

    async def test_200_runs_leave_one_row_and_a_full_pool(self, database: Database) -> None:
        """No run leaks a connection, and the table never grows."""
        check = await make(database)
        for _ in range(200):
            await run(check)
        assert checked_out(check.engine) == 0
        assert await database.ask(ROWS) == [(1, 200)]

    @on_postgres
    async def test_the_isolation_level_of_the_application_comes_back(
        self, database: Database
    ) -> None:
        """The connection that the check wrote on serves the next request as the engine says."""
        check = await make(database, pool_size=1, max_overflow=0, isolation_level="SERIALIZABLE")
        await run(check)

        def level(connection: sa.Connection) -> Any:
            return connection.execute(sa.text("SHOW transaction_isolation")).scalar()

        if isinstance(check.engine, AsyncEngine):
            async with check.engine.connect() as connection:
                found = await connection.run_sync(level)
        else:
            with check.engine.connect() as sync_connection:
                found = await to_thread.run_sync(level, sync_connection)
        assert found == "serializable"


class TestWriting:
    async def test_a_missing_table_is_named_with_its_remedy(self, database: Database) -> None:
        """The text carries the very statement that helps."""
        check = SQLAlchemyCheck(await database.engine(), writable=True)
        with pytest.raises(Unhealthy, match="probekit_writable is missing; ") as caught:
            await run(check)
        await database.ask(caught.value.message.partition("in a migration: ")[2])
        await run(check)
        assert await database.ask(ROWS) == [(1, 1)]

    async def test_creating_the_table_twice_changes_nothing(self, database: Database) -> None:
        """A second call leaves the table and its row as they are."""
        check = await make(database)
        await run(check)
        await create_table(check)
        assert await database.ask(ROWS) == [(1, 1)]

    async def test_replicas_create_the_table_at_once(self, database: Database) -> None:
        """Replicas that start together need no lock of their own."""
        checks = [SQLAlchemyCheck(await database.engine(), writable=True) for _ in range(8)]
        async with anyio.create_task_group() as tasks:
            for check in checks:
                tasks.start_soon(create_table, check)
        await run(checks[0])

    async def test_a_table_that_may_not_be_created_is_an_error(self, database: Database) -> None:
        """What the database says to CREATE TABLE comes through."""
        check = SQLAlchemyCheck(await database.engine(), writable=True, schema="nowhere")
        with pytest.raises(DBAPIError):
            await create_table(check)

    @on_postgres
    async def test_the_table_may_live_in_a_schema(self, database: Database) -> None:
        """With ``schema`` the table is created and found there."""
        await database.ask("CREATE SCHEMA ops")
        check = SQLAlchemyCheck(
            await database.engine(), writable=True, table="Beat of", schema="ops"
        )
        assert check.ddl.startswith('CREATE TABLE ops."Beat of" (')
        await create_table(check)
        await run(check)
        assert await database.ask('SELECT id FROM ops."Beat of"') == [(1,)]

    async def test_replicas_share_one_row(self, database: Database) -> None:
        """Replicas that count at the same time all get through, and none is forgotten."""
        checks = [await make(database) for _ in range(4)]

        async def count(check: Callable[[], Any]) -> None:
            for _ in range(10):
                await run(check)

        async with anyio.create_task_group() as tasks:
            for check in checks:
                tasks.start_soon(count, check)
        assert await database.ask(ROWS) == [(1, 40)]

    @on_sync
    async def test_the_first_row_is_made_by_whoever_comes_first(self, database: Database) -> None:
        """A replica that loses the race for the first row counts up the winner's."""
        check = await make(database)

        def other_first(*call: Any) -> None:
            if call[2].startswith("INSERT"):
                database.ask_now("INSERT INTO probekit_writable (id, beat) VALUES (1, 1)")

        sa.event.listen(check.engine, "before_cursor_execute", other_first)
        await run(check)
        assert await database.ask(ROWS) == [(1, 2)]

    @on_sync
    async def test_a_replica_that_freezes_after_its_write_blocks_nobody(
        self, database: Database
    ) -> None:
        """The lock is gone before the statement's answer is: another replica writes at once."""
        check = await make(database)
        other = await make(
            database,
            connect_args={"timeout": 0}
            if database.driver.startswith("sqlite")
            else {"options": "-c lock_timeout=1ms"},
        )
        assert isinstance(other, EngineCheck)
        await run(check)

        def frozen(*_: Any) -> None:
            other()

        sa.event.listen(check.engine, "after_cursor_execute", frozen)
        await run(check)
        assert await database.ask(ROWS) == [(1, 3)]

    async def test_a_table_of_another_shape_is_an_error(self, database: Database) -> None:
        """A row that can be neither counted up nor made is no proof of a write."""
        await database.ask(
            "CREATE TABLE probekit_writable (id INTEGER, beat BIGINT, more INTEGER NOT NULL)"
        )
        with pytest.raises(IntegrityError):
            await run(SQLAlchemyCheck(await database.engine(), writable=True))


def test_the_ddl_in_the_docs_is_the_one_that_the_check_prints() -> None:
    """Whoever copies the statement from the page gets the table that the check writes to."""
    engine = sa.create_engine("postgresql+psycopg://nobody@localhost/nothing")
    page = (Path(__file__).parents[2] / "docs/reference/checks.md").read_text(encoding="utf-8")
    statement = page.partition("```sql\n")[2].partition("```")[0]
    assert statement.strip().rstrip(";").split() == SQLAlchemyCheck(engine).ddl.split()
