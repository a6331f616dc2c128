"""Clients of Redis, sync and asyncio, and a word to the server from outside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from anyio import to_thread
from redis import asyncio as aio
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from ._servers import RedisServer

KEY = "probekit:writable"


class Clients:
    """Makes clients of one kind, as an application does, and closes them at the end."""

    def __init__(self, module: Any, retry: Any) -> None:
        self.module = module
        self.retry = retry
        self.made: list[Any] = []

    @property
    def is_async(self) -> bool:
        """Whether they are those of redis.asyncio."""
        return self.module is aio

    def keep(self, client: Any) -> Any:
        """Close this one at the end too."""
        self.made.append(client)
        return client

    async def __call__(self, port: int, **options: Any) -> Any:
        """Return a client that tries once and has patience."""
        options = {"retry": self.retry(NoBackoff(), 0), "socket_timeout": 15} | options
        make = partial(self.module.Redis, host="127.0.0.1", port=port, **options)
        # On a thread: it looks its own version up in the files of its distribution.
        return self.keep(await to_thread.run_sync(make))

    async def close(self) -> None:
        """Close all of them."""
        for client in self.made:
            await (client.aclose() if self.is_async else to_thread.run_sync(client.close))


async def ask(server: RedisServer, command: str) -> str:
    """Send a command from outside."""
    return await to_thread.run_sync(server.ask, command)


def driver_info() -> dict[str, Any]:
    """Spare the client a look at the files of its own distribution, on the loop."""
    return {"driver_info": redis.DriverInfo()} if hasattr(redis, "DriverInfo") else {}
