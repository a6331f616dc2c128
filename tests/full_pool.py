"""The threads that all sync functions of an application share, taken up to the last one."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["full_pool"]

LONGEST = 8.0
"""Seconds after which they are let go: a test that waits for one fails then, and does not hang."""


@asynccontextmanager
async def full_pool() -> AsyncGenerator[Callable[[], bool]]:
    """Take all threads up until the block is left.

    Yields:
        What says whether they are still taken up.
    """
    limiter, release = to_thread.current_default_thread_limiter(), threading.Event()
    before, limiter.total_tokens = limiter.total_tokens, 1

    def is_full() -> bool:
        return limiter.available_tokens == 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, release.wait, LONGEST)
        while not is_full():
            await anyio.sleep(0.01)
        try:
            yield is_full
        finally:
            release.set()
    limiter.total_tokens = before
