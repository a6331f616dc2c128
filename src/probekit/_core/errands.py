"""What else is done on the application's loop: hooks, farewells, each with a time limit."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from probekit._core.loops import Loop, Task

__all__ = ["Errands"]


class Errands:
    """What is done on a loop for somebody who does not wait for it.

    Attributes:
        under_way: The task of each.
    """

    def __init__(self) -> None:
        self.under_way: dict[object, list[Task]] = {}  # asyncio forgets a task that nobody holds

    def spawn(
        self,
        loop: Loop,
        main: Callable[[], Coroutine[Any, Any, None]],
        *,
        name: str,
        timeout: float,
        overdue: Callable[[], None],
    ) -> bool:
        """Run ``main`` on ``loop``; from any thread. See `Engine.spawn_threadsafe`."""
        key = object()
        tasks: list[Task] = []

        def expire() -> None:
            overdue()
            for task in tasks:
                task.cancel()

        def begin() -> None:
            unarm = loop.call_later(timeout, expire)
            self.under_way[key] = tasks

            async def errand() -> None:
                try:
                    await main()
                finally:
                    unarm()
                    del self.under_way[key]

            tasks.append(loop.spawn(errand, name=name, context=copy_context()))

        return loop.call_threadsafe(begin)
