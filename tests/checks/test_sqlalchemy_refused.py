"""Databases that answer every query and refuse every write, which `SQLAlchemyCheck` catches."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread
from sqlalchemy.exc import DBAPIError, OperationalError

from probekit.checks.sqlalchemy import SQLAlchemyCheck
from probekit.exceptions import Unhealthy
from tests.waiting import wait_until

from ._databases import (
    POSTGRES,
    ROWS,
    SQLITE,
    UPDATE,
    Database,
    checked_out,
    locked,
    make,
    outside,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ._postgres import PostgresServer

pytestmark = pytest.mark.anyio

on_sqlite = pytest.mark.parametrize("driver", SQLITE, indirect=True)
on_postgres = pytest.mark.parametrize("driver", POSTGRES, indirect=True)


async def replicated(database: Database, standby: PostgresServer) -> None:
    """Wait until the row of the check has reached the standby."""
    engine = outside(database.outside.url.set(port=standby.port))
    there = Database(database.driver, database.url, engine)

    def has_row() -> bool:
        with contextlib.suppress(DBAPIError):
            return bool(there.ask_now(ROWS))
        return False

    await to_thread.run_sync(wait_until, has_row, "the row is on the standby")


def can_mount() -> bool:
    """Return whether a file system of one's own can be had here."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


class TestRefusedWrites:
    @on_sqlite
    async def test_a_read_only_file_is_caught(self, database: Database) -> None:
        """A file that is opened for reading passes ``SELECT 1`` and fails the write."""
        await run(await make(database))
        database.url = database.url.set(
            database=f"file:{database.url.database}", query={"mode": "ro", "uri": "true"}
        )
        await run(SQLAlchemyCheck(await database.engine()))
        with pytest.raises(Unhealthy, match="refuses writes: it is read-only"):
            await run(SQLAlchemyCheck(await database.engine(), writable=True))

    @on_sqlite
    async def test_a_file_that_another_process_has_locked_fails(self, database: Database) -> None:
        """A lock that outlasts the driver's patience is an error like any other."""
        check = await make(database, connect_args={"timeout": 0.05})
        async with locked(database, UPDATE):
            with pytest.raises(OperationalError, match="locked"):
                await run(check)
        await run(check)

    @on_postgres
    async def test_a_read_only_database_is_caught(self, database: Database) -> None:
        """``default_transaction_read_only`` passes ``SELECT 1`` and fails the write."""
        await run(await make(database))
        name = database.url.database
        await database.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await run(SQLAlchemyCheck(await database.engine()))
        check = SQLAlchemyCheck(await database.engine(), writable=True)
        with pytest.raises(Unhealthy, match="refuses writes: it is read-only") as caught:
            await run(check)
        assert caught.value.detail == {"dialect": "postgresql", "pool_size": 5, "in_use": 1}
        assert checked_out(check.engine) == 0

    @on_postgres
    async def test_a_hot_standby_is_caught(
        self, database: Database, postgres_standby: PostgresServer
    ) -> None:
        """A standby that answers every query fails the write."""
        await run(await make(database))
        database.url = database.url.set(port=postgres_standby.port)
        reading = SQLAlchemyCheck(await database.engine())
        check = SQLAlchemyCheck(await database.engine(), writable=True)
        await replicated(database, postgres_standby)
        await run(reading)
        with pytest.raises(Unhealthy, match="refuses writes: it is read-only"):
            await run(check)

    @on_postgres
    async def test_missing_rights_are_named(self, database: Database) -> None:
        """A user without rights is told which, and these are enough."""
        await make(database)
        user = f"app_{database.url.database}"
        await database.ask(f"CREATE ROLE {user} LOGIN")
        check = SQLAlchemyCheck(await database.engine(user=user), writable=True)
        with pytest.raises(Unhealthy, match="lacks SELECT, INSERT or UPDATE"):
            await run(check)
        await database.ask(f"GRANT SELECT, INSERT, UPDATE ON probekit_writable TO {user}")
        await run(check)
        await database.ask(f"DROP OWNED BY {user}")
        await database.ask(f"DROP ROLE {user}")

    @pytest.mark.skipif(
        not can_mount(), reason="needs a mount of its own; allow user namespaces, or run as root"
    )
    def test_a_full_disk_is_caught(self, tmp_path: Path) -> None:
        """A file system without a free block passes ``SELECT 1`` and fails the write."""
        script = """
import pathlib, sys
import sqlalchemy as sa
from probekit.checks.sqlalchemy import SQLAlchemyCheck
from probekit.exceptions import Unhealthy

engine = sa.create_engine("sqlite:///" + sys.argv[1] + "/app.db")
check = SQLAlchemyCheck(engine, writable=True)
check.create_table()
check()
try:
    with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
except OSError:
    pass
SQLAlchemyCheck(engine)()
try:
    check()
except Unhealthy as unhealthy:
    print(unhealthy)
pathlib.Path(sys.argv[1] + "/filler").unlink()
check()
"""
        command = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$3" "$1"'
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", command, "sh", str(tmp_path), sys.executable, script],
            check=True,
            capture_output=True,
            text=True,
            timeout=15,
        )
        assert done.stdout == "the database refuses writes: its disk is full\n"
