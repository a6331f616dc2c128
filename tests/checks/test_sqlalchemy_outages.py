"""`SQLAlchemyCheck` while PostgreSQL hangs, crashes, comes back, or makes it wait for a lock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread
from sqlalchemy.exc import DBAPIError

from tests.waiting import wait_until

from ._databases import (
    POSTGRES,
    UPDATE,
    Database,
    checked_out,
    locked,
    make,
    paused,
    run,
    run_while_hung,
)

if TYPE_CHECKING:
    from ._postgres import PostgresServer

pytestmark = pytest.mark.anyio

on_postgres = pytest.mark.parametrize("driver", POSTGRES, indirect=True)
on_async_postgres = pytest.mark.parametrize("driver", POSTGRES[1:], indirect=True)
both_ways = pytest.mark.parametrize("writable", [False, True], ids=["read", "write"])


class TestOutages:
    @on_postgres
    @both_ways
    async def test_a_hung_server_is_waited_for(
        self, database: Database, postgres_server: PostgresServer, *, writable: bool
    ) -> None:
        """A server that stands still holds the run up, and the late answer is a good one."""
        check = await make(database, writable=writable)
        await run(check)
        assert await run_while_hung(check, postgres_server)
        assert checked_out(check.engine) == 0

    @on_async_postgres
    @both_ways
    async def test_a_cancelled_run_leaves_nothing_behind(
        self, database: Database, postgres_server: PostgresServer, *, writable: bool
    ) -> None:
        """Given up on a hung server, the run returns its connection and leaves no transaction."""
        check = await make(database, writable=writable)
        await run(check)
        async with paused(postgres_server):
            given_up = asyncio.create_task(run(check))
            await asyncio.wait([given_up], timeout=0.2)
            given_up.cancel()
        # The drivers tell the server, and wait for its answer, before they let go.
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert checked_out(check.engine) == 0
        await run(check)
        open_ones = "SELECT state FROM pg_stat_activity WHERE state LIKE 'idle in trans%'"
        assert await database.ask(open_ones) == []

    @on_async_postgres
    async def test_a_run_that_is_cancelled_while_it_waits_for_a_lock_lets_go(
        self, database: Database
    ) -> None:
        """Given up behind somebody's lock, the run leaves no statement that waits on."""
        check = await make(database)
        await run(check)
        waiting = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

        def has_waiting() -> bool:
            return bool(database.ask_now(waiting))

        async with locked(database, UPDATE):
            # A task that is cancelled once, as the core does it: anyio's scopes cancel again and
            # again, which keeps a driver from telling the server.
            blocked = asyncio.create_task(run(check))
            await to_thread.run_sync(wait_until, has_waiting, "the run waits for the lock")
            blocked.cancel()
            await to_thread.run_sync(wait_until, lambda: not has_waiting(), "it lets go")
            with pytest.raises(asyncio.CancelledError):
                await blocked
            assert checked_out(check.engine) == 0
        await run(check)

    @on_postgres
    @both_ways
    @pytest.mark.parametrize("pre_ping", [False, True], ids=["as-is", "pre-ping"])
    async def test_a_crashed_server_is_seen_and_its_return_too(
        self,
        database: Database,
        postgres_server: PostgresServer,
        *,
        writable: bool,
        pre_ping: bool,
    ) -> None:
        """Without pool_pre_ping the first run after a restart meets a dead connection."""
        check = await make(database, writable=writable, pool_pre_ping=pre_ping)
        await run(check)
        await to_thread.run_sync(postgres_server.crash)
        await to_thread.run_sync(postgres_server.start)
        if not pre_ping:
            with pytest.raises(DBAPIError):
                await run(check)
        await run(check)
        await to_thread.run_sync(postgres_server.crash)
        try:
            for _ in range(2):
                with pytest.raises((DBAPIError, OSError)):
                    await run(check)
        finally:
            await to_thread.run_sync(postgres_server.start)
        await run(check)
        assert checked_out(check.engine) == 0
