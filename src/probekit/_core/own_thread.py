"""Call what blocks, whatever the application's own functions are busy with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["on_own_thread"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


async def on_own_thread(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """Call ``function`` on a thread and return what it returns.

    A limiter of its own, since the shared one may be taken up by sync functions that hang.
    """
    return await to_thread.run_sync(function, *arguments, limiter=CapacityLimiter(1))
