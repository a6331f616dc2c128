"""Connections to Redis of probekit's own, that never wait for long."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from probekit.exceptions import ConfigurationError, MissingExtraError

try:
    from redis import ConnectionPool, Redis
    from redis.backoff import NoBackoff
    from redis.client import Pipeline
    from redis.exceptions import RedisError
    from redis.retry import Retry
    from redis.sentinel import SentinelConnectionPool
except ImportError as _error:
    raise MissingExtraError("probekit.fleet", package="redis", extra="redis") from _error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Source"]

Pool: Any = ConnectionPool  # neither has many types
SentinelPool: Any = SentinelConnectionPool

SCHEMES = ("redis://", "rediss://", "unix://")

FORM = (
    "write redis://USER:PASSWORD@HOST:6379/0, and in the password / ? # @ [ ] % as %2F %3F %23 %40 "
    "%5B %5D %25"
)

# A server that does not know AUTH or HELLO repeats what follows it: the password, or its beginning.
REPEATED = re.compile("with args beginning with.*", re.DOTALL)

# What the application's client keeps for itself: how long it waits and how often it tries again,
# and the objects by which redis-py ties a connection to its pool.
NOT_TAKEN = re.compile(
    "retry.*|.*socket_timeout|.*socket_connect_timeout|decode_responses|health_check_interval|"
    "connection_pool|max_connections|timeout|event_dispatcher|maint_.*|oss_cluster_.*|orig_.*"
)


class Source:
    """Where the fleet's Redis is; makes clients of it.

    Args:
        redis: A URL, or a client whose address, credentials and TLS are taken, but neither its
            connections nor its timeouts.
        timeout: Seconds that a connection or an answer may take.

    Attributes:
        address: Where it is, for messages: without the password.
        timeout: As given.

    Raises:
        ConfigurationError: If it is neither, or the URL makes no sense.
    """

    def __init__(self, redis: object, *, timeout: float) -> None:
        if isinstance(redis, str):
            check_url(redis)
            self._pool: Any = pool_of(redis)
        elif isinstance(redis, Redis) and not isinstance(redis, Pipeline):
            self._pool = redis.connection_pool
        else:
            # Its type and not its value, which may hold the password.
            raise ConfigurationError(
                f"fleet: redis must be a URL such as redis://redis:6379/0 or a redis.Redis, got "
                f"{type(redis).__name__}; of an asyncio or cluster client hand over the URL"
            )
        self.timeout: float = timeout
        given: dict[str, Any] = self._pool.connection_kwargs
        # Who forgets the colon before a password has given it as the user.
        self._secret: str | None = given.get("password") or given.get("username")
        self.address: str = address_of(self._pool, given)
        self.connect()  # an option that no connection takes is found here, and not in a thread

    def connect(self) -> Any:
        """Return a new client with connections of its own; it connects when it is used.

        Raises:
            ConfigurationError: If the URL has options that no connection takes.
        """
        pool = self._pool
        options: dict[str, Any] = {
            name: value
            for name, value in pool.connection_kwargs.items()
            if not NOT_TAKEN.fullmatch(name)
        } | {
            "connection_class": pool.connection_class,
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
        }
        if isinstance(pool, SentinelPool):
            made = SentinelPool(
                pool.service_name, pool.sentinel_manager, is_master=pool.is_master, **options
            )
        else:
            made = Pool(**options)
            check_options(pool.connection_class, made.connection_kwargs)
        return Redis(connection_pool=made)

    def scrub(self, text: str) -> str:
        """Return a text as one line, not too long, without the password."""
        text = self._hide(text.rpartition(" of pipeline caused error: ")[2])
        return (text if text.isprintable() else ascii(text)[1:-1])[:200]

    def cause(self, error: Exception) -> Exception | None:
        """Return an error that may stand in a traceback; None if the password stands in it."""
        return error if self._hide(str(error)) == str(error) else None

    def _hide(self, text: str) -> str:
        text = REPEATED.sub("***", text)
        return text.replace(self._secret, "***") if self._secret else text


def check_url(url: str) -> None:
    """Refuse what is no URL of a Redis, without showing any of it.

    Where a character of the password is not encoded, the URL falls apart at it, and whatever part
    one looks at may be the password's.
    """
    if not url.startswith(SCHEMES):
        wrong = f"must begin with one of {', '.join(SCHEMES)}"
    else:
        wrong = fault_of(url)
    if wrong:  # out here, so that no error of urlsplit() with its text goes along
        raise ConfigurationError(f"fleet: the URL of Redis {wrong}; {FORM}")


def fault_of(url: str) -> str:
    """Return what is wrong behind the scheme, or an empty string."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "makes no sense: a [ or ] belongs to an IPv6 address"
    if "@" in parts.path + parts.query + parts.fragment:
        return "has an @ after its host, so something in the password is not encoded"
    try:
        port = parts.port
    except ValueError:
        return "names a port that is no number from 1 to 65535"
    if port == 0:
        return "names port 0, which nobody listens on"
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        return "has something after its host that is not the number of a database"
    return ""


def pool_of(url: str) -> Any:
    """Return a pool for a URL; it is never connected.

    Raises:
        ConfigurationError: If redis-py does not understand the URL.
    """
    try:
        return Pool.from_url(url)
    except (TypeError, ValueError) as error:
        raise option_refused(error, dict(parse_qsl(urlsplit(url).query))) from None


def check_options(kind: type[Any], options: Mapping[str, Any]) -> None:
    """Refuse options that a connection does not take."""
    try:
        kind(**options)
    except (TypeError, ValueError, RedisError) as error:
        raise option_refused(error, options) from None


def option_refused(error: Exception, options: Mapping[str, Any]) -> ConfigurationError:
    """Return an error with the names of the options that redis-py complains of, and no value."""
    words = set(re.findall(r"\w+", str(error)))
    named = ", ".join(name for name in options if name in words) or "one of those after the ?"
    return ConfigurationError(
        f"fleet: the URL of Redis has an option that redis-py does not take: {named}; correct it, "
        f"or leave it out"
    )


def address_of(pool: Any, options: Mapping[str, Any]) -> str:
    """Return where a pool connects to."""
    database = options.get("db") or 0
    if isinstance(pool, SentinelPool):
        return f"{pool.service_name} by Sentinel, database {database}"
    if path := options.get("path"):
        return f"{path}, database {database}"
    host, port = options.get("host") or "localhost", options.get("port") or 6379
    return f"{host}:{port}/{database}"
