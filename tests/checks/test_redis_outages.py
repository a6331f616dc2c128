"""`RedisCheck` on servers that refuse writes, hang, crash or are none."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from probekit.checks.redis import RedisCheck
from probekit.exceptions import Unhealthy
from tests.waiting import answering, wait_until

from ._databases import paused, run, run_while_hung
from ._redis import Clients, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ._servers import RedisServer

pytestmark = pytest.mark.anyio

both_ways = pytest.mark.parametrize("writable", [False, True], ids=["ping", "write"])


@pytest.fixture
def not_redis() -> Generator[int]:
    """The port of a server that answers every line as no Redis would."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                if line.strip().upper() in (b"CLIENT", b"PING", b"SET"):
                    self.wfile.write(b"+HELLO\r\n")

    with answering(Handler) as port:
        yield port


class TestRefusedWrites:
    async def refused(self, clients: Clients, server: RedisServer, match: str) -> None:
        """PING passes, and the write fails with these words."""
        client = await clients(server.port)
        await run(RedisCheck(client))
        with pytest.raises(Unhealthy, match=match):
            await run(RedisCheck(client, writable=True))

    async def test_a_read_only_replica_is_caught(
        self, clients: Clients, redis_server: RedisServer, start_redis: Callable[..., RedisServer]
    ) -> None:
        """A client that points at a replica passes PING and fails the write."""
        replica = await to_thread.run_sync(
            start_redis, "--replicaof", "127.0.0.1", str(redis_server.port)
        )
        await self.refused(clients, replica, "refuses writes: it is a read-only replica")

    async def test_a_full_memory_is_caught(
        self, clients: Clients, start_redis: Callable[..., RedisServer]
    ) -> None:
        """With ``noeviction`` and a limit that is reached PING passes and the write fails."""
        server = await to_thread.run_sync(
            start_redis, "--maxmemory", "1", "--maxmemory-policy", "noeviction"
        )
        await self.refused(clients, server, "refuses writes: it has reached maxmemory")

    async def test_missing_replicas_are_caught(
        self, clients: Clients, start_redis: Callable[..., RedisServer]
    ) -> None:
        """A master that wants replicas to write, and has none, passes PING and fails the write."""
        server = await to_thread.run_sync(start_redis, "--min-replicas-to-write", "1")
        await self.refused(clients, server, "refuses writes: it has fewer good replicas")

    async def test_a_disk_that_cannot_be_written_is_caught(
        self, clients: Clients, start_redis: Callable[..., RedisServer], tmp_path: Path
    ) -> None:
        """A server whose snapshots fail stops writes, and the check says why."""
        server = await to_thread.run_sync(start_redis, "--dir", str(tmp_path / "redis-0"))
        assert await ask(server, 'CONFIG SET save "1 1"') == "+OK"
        # A directory in the place of the file: not even root can rename a snapshot onto it.
        await anyio.Path(tmp_path / "redis-0" / "dump.rdb" / "in the way").mkdir(parents=True)
        await ask(server, "SET something else")

        def refuses() -> bool:
            server.ask("BGSAVE")
            return server.ask("SET something more").startswith("-MISCONF")

        await to_thread.run_sync(wait_until, refuses, "a snapshot has failed")
        # PING is refused too, in a state like that.
        with pytest.raises(Unhealthy, match="refuses writes: it cannot save its data to disk"):
            await run(RedisCheck(await clients(server.port), writable=True))
        await ask(server, 'CONFIG SET save ""')  # or else it refuses to end

    async def test_a_key_of_another_server_rule_is_an_error(
        self, clients: Clients, start_redis: Callable[..., RedisServer]
    ) -> None:
        """What the check has no words for comes through, for the core to redact."""
        server = await to_thread.run_sync(
            start_redis, "--rename-command", "SET", "hidden", "--rename-command", "PING", "PING2"
        )
        for writable in (False, True):
            with pytest.raises(ResponseError, match="unknown command"):
                await run(RedisCheck(await clients(server.port), writable=writable))


class TestOutages:
    @both_ways
    async def test_what_is_not_redis_is_unhealthy(
        self, clients: Clients, not_redis: int, *, writable: bool
    ) -> None:
        """A server that answers, but not as Redis does, is not taken for one."""
        client = await clients(not_redis, protocol=2)
        with pytest.raises(Unhealthy, match="does not speak like Redis"):
            await run(RedisCheck(client, writable=writable))

    async def test_an_exhausted_pool_fails(
        self, clients: Clients, redis_server: RedisServer
    ) -> None:
        """When a request holds the only connection the check fails, and recovers with it."""
        client = await clients(redis_server.port, max_connections=1)
        check = RedisCheck(client)
        await run(check)
        subscriber = client.pubsub()  # which keeps a connection for itself
        subscribed = subscriber.subscribe("news")
        if clients.is_async:
            await subscribed
        with pytest.raises(RedisConnectionError):
            await run(check)
        closed = subscriber.aclose() if clients.is_async else subscriber.close()
        if clients.is_async:
            await closed
        await run(check)

    @both_ways
    async def test_a_hung_server_is_waited_for(
        self, clients: Clients, redis_server: RedisServer, *, writable: bool
    ) -> None:
        """A server that stands still holds the run up, and the late answer is a good one."""
        check = RedisCheck(await clients(redis_server.port), writable=writable)
        await run(check)
        assert await run_while_hung(check, redis_server)

    @pytest.mark.parametrize("clients", ["redis.asyncio"], indirect=True)
    @both_ways
    async def test_a_cancelled_run_leaves_no_answer_for_the_next_command(
        self, clients: Clients, redis_server: RedisServer, *, writable: bool
    ) -> None:
        """Given up on a hung server, the run does not hand its late answer to a request."""
        client = await clients(redis_server.port, max_connections=1)
        await client.set("greeting", "hello")
        async with paused(redis_server):
            given_up = asyncio.create_task(run(RedisCheck(client, writable=writable)))
            await asyncio.wait([given_up], timeout=0.2)
            given_up.cancel()
            with anyio.fail_after(5), contextlib.suppress(asyncio.CancelledError):
                await given_up
            assert given_up.cancelled()
        assert await client.get("greeting") == b"hello"

    @both_ways
    async def test_a_crashed_server_is_seen_and_its_return_too(
        self, clients: Clients, redis_server: RedisServer, *, writable: bool
    ) -> None:
        """While it is away every run fails, and once it is back the check recovers."""
        check = RedisCheck(await clients(redis_server.port), writable=writable)
        await run(check)
        await to_thread.run_sync(redis_server.crash)
        try:
            for _ in range(2):
                with pytest.raises(RedisConnectionError):
                    await run(check)
        finally:
            await to_thread.run_sync(redis_server.start)
        await run(check)
