"""What went wrong with Redis, in words that name the remedy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import exceptions as redis

from probekit.exceptions import FleetError

if TYPE_CHECKING:
    from collections.abc import Generator

    from probekit._fleet.client import Source

__all__ = ["ForeignKeyError", "explained"]


class ForeignKeyError(FleetError):
    """A key of the fleet's holds what this version of probekit has not written."""

    def __init__(self, key: str, found: str) -> None:
        super().__init__(
            f"the key {key} holds {found}, so it is left alone; choose another app name, or remove "
            f"the key if nothing needs it",
            answered=True,
        )


@contextmanager
def explained(source: Source, key: str) -> Generator[None]:
    """Turn what redis-py raises into a `FleetError` without the password.

    Args:
        source: Where the Redis is.
        key: What was worked with.
    """
    try:
        yield
    except redis.ResponseError as error:
        raise refused(error, source, key) from source.cause(error)
    except (redis.RedisError, OSError) as error:
        raise unreached(error, source) from source.cause(error)


def refused(error: redis.ResponseError, source: Source, key: str) -> FleetError:
    """Return why the server does not do it."""
    if "WRONGTYPE" in str(error):
        return ForeignKeyError(key, "a value of another kind than probekit's")
    where = f"the Redis at {source.address}"
    if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):
        text = f"{where} is a read-only replica; give the address of its master"
    else:
        text = f"{where} refuses: {source.scrub(str(error))}"
    return FleetError(text, answered=True)


def unreached(error: Exception, source: Source) -> FleetError:
    """Return why there is no answer, or no good one."""
    where = f"the Redis at {source.address}"
    if isinstance(error, redis.AuthenticationError):
        text = (
            f"{where} wants other credentials ({source.scrub(str(error))}); write them into the "
            f"URL: redis://USER:PASSWORD@HOST"
        )
        return FleetError(text, answered=True)
    if isinstance(error, (redis.TimeoutError, TimeoutError)):
        text = f"{where} does not answer in time"
    elif isinstance(error, redis.BusyLoadingError):
        text = f"{where} is still loading its data"
    elif isinstance(error, (redis.ConnectionError, OSError)):
        text = f"{where} cannot be reached: {source.scrub(str(error)).rstrip('.')}"
    else:
        text = f"what answers at {source.address} does not speak like Redis"
    return FleetError(text, answered=False)
