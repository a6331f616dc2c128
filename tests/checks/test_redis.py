"""`RedisCheck`: how it is made, pings and writes, through the sync and the asyncio client."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
from anyio import to_thread
from redis import asyncio as aio

from probekit.checks.redis import AsyncClientCheck, ClientCheck, RedisCheck
from probekit.exceptions import ConfigurationError
from tests.waiting import free_port, wait_until

from ._databases import run
from ._redis import KEY, Clients, ask, driver_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._servers import RedisServer

pytestmark = pytest.mark.anyio

both_ways = pytest.mark.parametrize("writable", [False, True], ids=["ping", "write"])


class TestConstruction:
    async def test_the_client_decides_how_the_check_runs(self, clients: Clients) -> None:
        """A sync client makes a sync check and an asyncio one an async check, of one family."""
        check = RedisCheck(await clients(free_port()))
        assert isinstance(check, RedisCheck)
        assert isinstance(check, AsyncClientCheck if clients.is_async else ClientCheck)
        assert inspect.iscoroutinefunction(type(check).__call__) is clients.is_async

    def test_it_says_that_it_is_external_and_how_it_is_called(self) -> None:
        """The registry learns from the class what liveness must refuse, and a default name."""
        assert RedisCheck.external is True
        assert RedisCheck.name == "redis"

    def test_no_address_is_shown(self) -> None:
        """The repr of a check has neither the password nor the host in it."""
        check = RedisCheck(redis.Redis.from_url("redis://:hunter2@cache.example"))
        assert repr(check) == f"ClientCheck(writable=False, key='{KEY}')"

    @pytest.mark.parametrize(
        "wrong",
        [
            "redis://:hunter2@cache.example",
            None,
            redis.Redis,
            redis.ConnectionPool(password="hunter2"),
            redis.Sentinel([]),  # type: ignore[no-untyped-call] # redis-py's, not ours
            redis.Redis().pipeline(),
            aio.Redis().pipeline(),
        ],
        ids=lambda wrong: f"{type(wrong).__module__}.{type(wrong).__name__}",
    )
    def test_anything_but_a_client_is_refused(self, wrong: Any) -> None:
        """The error names the type and the remedy, and never the value with its password."""
        with pytest.raises(ConfigurationError, match=r"from_url\(\).*master_for") as caught:
            RedisCheck(wrong)
        assert f"got {type(wrong).__name__};" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_the_kind_is_not_for_the_caller_to_choose(self) -> None:
        """A kind that does not fit the client is refused, and so is a subclass."""
        with pytest.raises(ConfigurationError, match="ClientCheck cannot check a Redis"):
            ClientCheck(aio.Redis())  # type: ignore[arg-type] # that is the test

        class Mine(RedisCheck):
            pass

        with pytest.raises(ConfigurationError, match="Mine cannot check a Redis"):
            Mine(redis.Redis())

    @pytest.mark.parametrize("key", ["", None, 5])
    def test_a_key_that_is_none_is_refused(self, key: Any) -> None:
        """A key that is no text is refused when the check is made."""
        with pytest.raises(ConfigurationError, match="key must be a text"):
            RedisCheck(redis.Redis(), writable=True, key=key)

    def test_without_redis_the_install_line_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Importing the module without its package prints what to install."""
        monkeypatch.delitem(sys.modules, "probekit.checks.redis")
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(ImportError, match=r"pip install 'probekit-health\[redis\]'"):
            import probekit.checks.redis  # noqa: F401 - importing is the test


class TestHealthy:
    @both_ways
    @pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}], ids=str)
    async def test_a_reachable_server_is_healthy(
        self,
        clients: Clients,
        redis_server: RedisServer,
        options: dict[str, Any],
        *,
        writable: bool,
    ) -> None:
        """However the client decodes, the check passes and has nothing to say."""
        check = RedisCheck(await clients(redis_server.port, **options), writable=writable)
        assert await run(check) is None

    async def test_200_runs_leave_one_key_that_expires(
        self, clients: Clients, redis_server: RedisServer
    ) -> None:
        """Nothing grows: one connection, and one key that is gone a minute after the last run."""
        await ask(redis_server, "FLUSHALL")
        check = RedisCheck(await clients(redis_server.port, max_connections=1), writable=True)
        for _ in range(200):
            await run(check)
        assert await ask(redis_server, "DBSIZE") == ":1"
        assert 50 < int((await ask(redis_server, f"TTL {KEY}"))[1:]) <= 60

    @both_ways
    async def test_the_client_of_a_cluster_is_welcome(
        self, clients: Clients, start_redis: Callable[..., RedisServer], *, writable: bool
    ) -> None:
        """Cluster clients share the API, and a cluster of one node is enough to see it."""
        server = await to_thread.run_sync(start_redis, "--cluster-enabled", "yes")
        for first in range(0, 16384, 4096):  # all at once are too much for an inline command
            slots = " ".join(str(slot) for slot in range(first, first + 4096))
            assert await ask(server, f"CLUSTER ADDSLOTS {slots}") == "+OK"
        await to_thread.run_sync(
            wait_until, lambda: server.ask("SET ready yes") == "+OK", "the cluster is up"
        )

        def connect() -> Any:
            return clients.module.RedisCluster(host="127.0.0.1", port=server.port, **driver_info())

        client = await to_thread.run_sync(connect)
        await run(RedisCheck(clients.keep(client), writable=writable))
        found = await ask(server, f"EXISTS {KEY}")
        assert found == (":1" if writable else ":0")

    @both_ways
    async def test_a_client_that_sentinel_made_is_welcome(
        self, clients: Clients, start_redis: Callable[..., RedisServer], *, writable: bool
    ) -> None:
        """A client that asks Sentinel for its master is a client like any other."""
        master = await to_thread.run_sync(start_redis)

        def start_sentinel() -> RedisServer:
            config = f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            return start_redis("--sentinel", config=config)

        watch = await to_thread.run_sync(start_sentinel)
        known = [("127.0.0.1", watch.port)]
        sentinel = await to_thread.run_sync(clients.module.sentinel.Sentinel, known)
        for asked in sentinel.sentinels:
            clients.keep(asked)

        def make_client() -> Any:
            return sentinel.master_for("main", **driver_info())

        client = clients.keep(await to_thread.run_sync(make_client))
        await run(RedisCheck(client, writable=writable))
