"""What may be handed over to fetch a number, how it is called, and what it may bring."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

from probekit._core.functions import check_callable, drop_awaitable, unwrap
from probekit._core.loops import in_trio
from probekit.exceptions import ConfigurationError

__all__ = [
    "Fetch",
    "NoNumberError",
    "is_async",
    "limited",
    "name_of",
    "task_name",
    "to_number",
]

Number: TypeAlias = float | Decimal
Fetch: TypeAlias = Callable[[], Number | Awaitable[Number]]

GIVE_UP = 30.0
"""Seconds after which an async fetch is cancelled. A thread cannot be."""


class NoNumberError(Exception):
    """A fetch returned something else; the text holds its type and not its value."""


def is_async(fetch: object) -> bool:
    """Return whether ``fetch`` is async.

    Raises:
        ConfigurationError: It cannot be called without arguments.
    """
    if not callable(fetch):
        raise ConfigurationError(
            f"Level: fetch must be a function without arguments, got {fetch!r}; pass the function "
            "that returns the number, and do not call it"
        )
    return check_callable(fetch, what="Level", kind="fetch")


def name_of(fetch: object) -> str:
    """Return what ``fetch`` is called, or ``level`` where nobody gave it a name."""
    name: str = getattr(unwrap(fetch), "__name__", "level")
    return "level" if name == "<lambda>" else name


def to_number(value: object) -> float:
    """Return ``value`` as an int or a float.

    Raises:
        NoNumberError: It is none, or NaN, or infinite.
    """
    if drop_awaitable(value):
        raise NoNumberError(
            "fetch returned something to await, but is no async function; make it `async def` and "
            "await there"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise NoNumberError(
            f"fetch returned a value of type {type(value).__name__}; return an int, a float or a "
            "Decimal"
        )
    number = float(value)
    if not math.isfinite(number):
        raise NoNumberError(f"fetch returned {number}; return a finite number, or raise")
    return number


async def limited(fetch: Callable[[], Awaitable[Any]]) -> object:
    """Return what ``fetch`` brings, unless that takes longer than `GIVE_UP`."""
    # Not anyio, which would cancel a fetch that does not want to end over and over.
    if in_trio():
        import trio

        with trio.fail_after(GIVE_UP):
            return await fetch()
    async with asyncio.timeout(GIVE_UP):
        return await fetch()


def task_name() -> str:
    """Return what the task is called in which the caller runs."""
    if in_trio():
        import trio

        return trio.lowlevel.current_task().name
    task = asyncio.current_task()
    return "" if task is None else task.get_name()
