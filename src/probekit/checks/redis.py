"""Check Redis through the client that the application itself uses.

Needs the extra ``redis``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias, final, overload

from probekit.exceptions import ConfigurationError, MissingExtraError, Unhealthy

try:
    from redis import Redis, RedisCluster
    from redis import asyncio as aio
    from redis.asyncio.client import Pipeline as AsyncPipeline
    from redis.client import Pipeline
    from redis.cluster import ClusterPipeline
    from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
except ImportError as _error:
    raise MissingExtraError(__name__, package="redis", extra="redis") from _error

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["AsyncClientCheck", "ClientCheck", "RedisCheck"]

Client: TypeAlias = Redis | RedisCluster
AsyncClient: TypeAlias = aio.Redis | aio.RedisCluster

_EXPIRY = 60
"""Seconds after which the key of ``writable`` is gone when nobody writes it any more."""

# Redis says these in the first word of an answer for which redis-py has no class of its own.
_REFUSALS = {
    "MISCONF": "it cannot save its data to disk",
    "NOREPLICAS": "it has fewer good replicas than min-replicas-to-write",
}


@dataclass(frozen=True, init=False)
class RedisCheck:
    """Prove that the application's own client reaches Redis, and that it can write there.

    Hand over the client that serves production traffic: its pool, its retries and its timeouts
    are what the check tests. ``RedisCheck(client)`` gives a `ClientCheck` for ``redis.Redis`` and
    an `AsyncClientCheck` for ``redis.asyncio.Redis``: probekit runs the one on a thread and the
    other on the loop, and tells them apart before they run for the first time. Clients of a
    cluster, and those that Sentinel makes, are welcome too.

    It sends ``PING``; with ``writable=True`` it sets one key that expires after 60 s, which shows
    what ``PING`` cannot: a read-only replica, a memory limit that is reached, a disk that is full.

    Args:
        client: The client that the application uses.
        writable: Prove a write instead of a ``PING``.
        key: The key that ``writable`` sets; in a cluster it decides which shard is tested.

    Raises:
        ConfigurationError: The client is none of these, or the key is empty.

    Note:
        A call lasts as long as the client waits and retries: set ``socket_timeout``,
        ``socket_connect_timeout`` and ``retry`` of the client. A client of ``redis.asyncio``
        works on asyncio only, and only on the loop that it has connected on.

    Example:
        ``probes.readiness(RedisCheck(client), name="cache")``
    """

    client: Client | AsyncClient = field(repr=False)
    _: KW_ONLY
    writable: bool = False
    key: str = "probekit:writable"

    external: ClassVar[bool] = True
    """It depends on something outside the process, so liveness refuses it."""
    name: ClassVar[str] = "redis"
    """What the check is called unless it is registered under another name."""

    @overload
    def __new__(cls, client: Client, *, writable: bool = ..., key: str = ...) -> ClientCheck: ...

    @overload
    def __new__(
        cls, client: AsyncClient, *, writable: bool = ..., key: str = ...
    ) -> AsyncClientCheck: ...

    def __new__(
        cls,
        client: Client | AsyncClient,
        *,
        writable: bool = False,
        key: str = "probekit:writable",
    ) -> RedisCheck:
        """Build the kind of check that the client asks for."""
        del writable, key  # they go to the __init__ of that kind
        kind = _kind_for(client)
        if cls not in (RedisCheck, kind):
            msg = (
                f"{cls.__name__} cannot check a {type(client).__name__}; call RedisCheck(), "
                "which picks the kind and has no other"
            )
            raise ConfigurationError(msg)
        return object.__new__(kind)

    def __post_init__(self) -> None:
        """Refuse a key that is none."""
        if not _is_key(self.key):
            msg = (
                f"RedisCheck: key must be a text that is not empty, got {self.key!r}; "
                "leave it out for 'probekit:writable'"
            )
            raise ConfigurationError(msg)


@final
@dataclass(frozen=True)
class ClientCheck(RedisCheck):
    """What `RedisCheck` gives for ``redis.Redis``: a sync check, which runs on a thread."""

    client: Client = field(repr=False)

    def __call__(self) -> None:
        """Run the check.

        Raises:
            Unhealthy: The server refuses the write, or what answers is not Redis.
        """
        with _explained():
            if self.writable:
                answer = self.client.set(self.key, "1", ex=_EXPIRY)
            else:
                answer = self.client.ping()  # pyright: ignore[reportUnknownMemberType] - untyped kwargs
        _expect_yes(answer)


@final
@dataclass(frozen=True)
class AsyncClientCheck(RedisCheck):
    """What `RedisCheck` gives for ``redis.asyncio.Redis``: an async check, on asyncio only."""

    client: AsyncClient = field(repr=False)

    async def __call__(self) -> None:
        """Run the check.

        Raises:
            Unhealthy: The server refuses the write, or what answers is not Redis.

        Note:
            When it is cancelled, the client closes the connection instead of reusing it.
        """
        with _explained():
            if self.writable:
                answer = await self.client.set(self.key, "1", ex=_EXPIRY)
            else:
                answer = await self.client.ping()  # pyright: ignore[reportUnknownMemberType] - as above
        _expect_yes(answer)


def _kind_for(client: object) -> type[RedisCheck]:
    # A pipeline is a client by inheritance, but it queues a PING and sends nothing.
    if not isinstance(client, (Pipeline, AsyncPipeline, ClusterPipeline)):
        if isinstance(client, (Redis, RedisCluster)):
            return ClientCheck
        if isinstance(client, (aio.Redis, aio.RedisCluster)):
            return AsyncClientCheck
    # Its type and not its value: a URL carries the password.
    msg = (
        "RedisCheck: client must be the redis.Redis, redis.asyncio.Redis or cluster client that "
        f"the application uses, got {type(client).__name__}; of a URL make one with "
        "Redis.from_url(), of a Sentinel with master_for(), of a pool with Redis.from_pool()"
    )
    raise ConfigurationError(msg)


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(value)


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except ResponseError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        msg = f"the server refuses writes: {refusal}"
        raise Unhealthy(msg) from error


def _refusal(error: ResponseError) -> str | None:
    """Say in words of ours why a write was refused: the server's own text stays in the log."""
    if isinstance(error, ReadOnlyError):
        return "it is a read-only replica"
    if isinstance(error, OutOfMemoryError):
        return "it has reached maxmemory and its policy evicts nothing"
    return _REFUSALS.get(str(error).partition(" ")[0])


def _expect_yes(answer: object) -> None:
    if answer is not True:
        msg = "what answers does not speak like Redis"
        raise Unhealthy(msg)
