"""The event loop that the checks run on: asyncio (uvloop too) or trio, behind one small face.

A run belongs to nobody's request, so it needs a task that outlives the request: on asyncio any
task does, on trio a system task. anyio has no word for either, and asyncio's own primitives cost a
sixth of anyio's where a hundred checks are started at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

__all__ = [
    "Loop",
    "Task",
    "Waiter",
    "current_loop",
    "find_loop",
    "in_trio",
    "is_cancelled",
    "nothing",
]


EAGERLY: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""Run a task's first step at once: a check that awaits nothing then costs half as much."""


class Waiter(Protocol):
    """Something that one task waits for and the loop's thread sets."""

    def set(self) -> None:
        """Wake the task; to call it again is harmless."""
        ...

    async def wait(self) -> None:
        """Wait until it is set."""
        ...


class Task(Protocol):
    """A task that was spawned; asyncio's own is one."""

    def cancel(self) -> object:
        """Ask it to end."""
        ...

    def cancelling(self) -> int:
        """How many requests to end it has not answered yet."""
        ...


class Loop(Protocol):
    """What the engine needs of an event loop."""

    cancelled: type[BaseException]

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        ...

    def is_running(self) -> bool:
        """Whether this loop still turns, in whichever thread."""
        ...

    def spawn(
        self, main: Callable[[], Coroutine[Any, Any, None]], *, name: str, context: Context
    ) -> Task:
        """Run ``main``, which must not raise, in a task of its own."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Callable[[], object]:
        """Call ``callback`` on the loop after ``delay`` seconds; return what prevents it."""
        ...

    def call_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` on the loop soon, from any thread.

        Returns:
            False if the loop has ended, or turns in another process, which forked this one.
        """
        ...

    def waiter(self) -> Waiter:
        """Return something to wait for on this loop."""
        ...

    def running_task(self) -> Any:
        """Return the task whose step is under way, or None; from any thread."""
        ...


class AsyncioLoop:
    """asyncio's loop, or uvloop's."""

    cancelled: type[BaseException] = asyncio.CancelledError

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()

    def is_current(self) -> bool:
        # the same as get_running_loop(), which raises where there is none
        return asyncio._get_running_loop() is self._loop

    def is_running(self) -> bool:
        # In a child that was forked while it turned, it still says so.
        return self._loop.is_running() and os.getpid() == self._pid

    def spawn(
        self, main: Callable[[], Coroutine[Any, Any, None]], *, name: str, context: Context
    ) -> Task:
        # Not create_task: the task factory is the application's.
        return asyncio.Task(main(), loop=self._loop, name=name, context=context, **EAGERLY)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Callable[[], object]:
        return self._loop.call_later(delay, callback).cancel

    def call_threadsafe(self, callback: Callable[[], None]) -> bool:
        if os.getpid() != self._pid:  # it is not closed, and would wake the parent's
            return False
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def waiter(self) -> Waiter:
        return FutureWaiter(self._loop.create_future())

    def running_task(self) -> Any:
        return asyncio.current_task(self._loop)


class FutureWaiter:
    """Waits with the cheapest thing that asyncio has."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def set(self) -> None:
        if not self._future.done():  # the waiting request may have been cancelled
            self._future.set_result(None)

    async def wait(self) -> None:
        await self._future


class TrioLoop:
    """A run of trio."""

    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._pid = os.getpid()
        self.cancelled: type[BaseException] = trio.Cancelled
        # What belongs to this thread of a threading.local that trio keeps to itself.
        context = getattr(sys.modules.get("trio._core._run"), "GLOBAL_RUN_CONTEXT", nothing)
        self._context: dict[str, Any] = vars(context)

    def is_current(self) -> bool:
        return in_trio() and self._trio.lowlevel.current_trio_token() is self._token

    def is_running(self) -> bool:
        return self.call_threadsafe(nothing)

    def spawn(
        self, main: Callable[[], Coroutine[Any, Any, None]], *, name: str, context: Context
    ) -> Task:
        scope = self._trio.CancelScope()

        async def task() -> None:
            with scope:
                this = self._trio.lowlevel.current_task()
                scopes = getattr(this, "_cancel_status", None)
                nurseries = list(this.child_nurseries)
                await main()
                # A coroutine that even refuses to be closed leaves its scopes and nurseries open,
                # and trio would bring down the whole run for it. There is no public way to step out
                # of them, so this is done where trio still has the private one.
                getattr(this, "_activate_cancel_status", nothing)(scopes)
                if len(this.child_nurseries) > len(nurseries):
                    setattr(this, "_child_nurseries", nurseries)  # noqa: B010 - private, see above

        self._spawn(task, name=name, context=context)
        return TrioTask(scope.cancel)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Callable[[], object]:
        scope = self._trio.CancelScope()

        async def task() -> None:
            with scope:
                await self._trio.sleep(delay)
                callback()

        self._spawn(task, name=callback)

        def cancel() -> None:
            # Elsewhere it is a forked child that lets go of it: nothing is left to be cancelled.
            if self.is_current():
                scope.cancel()

        return cancel

    def _spawn(self, task: Callable[[], Coroutine[Any, Any, None]], **options: Any) -> None:
        # A run of trio that is ending takes no more tasks. Nobody will miss this one.
        with contextlib.suppress(RuntimeError):
            self._trio.lowlevel.spawn_system_task(task, **options)

    def call_threadsafe(self, callback: Callable[[], None]) -> bool:
        if os.getpid() != self._pid:  # the token knows of no end, and would wake the parent's
            return False
        try:
            # A loop that stands still is asked over and over whether it turns.
            self._token.run_sync_soon(callback, idempotent=callback is nothing)
        except self._trio.RunFinishedError:
            return False
        return True

    def waiter(self) -> Waiter:
        return EventWaiter()

    def running_task(self) -> Any:
        return self._context.get("task")


class TrioTask:
    """A system task, by the scope around it."""

    __slots__ = ("_cancel",)

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel

    def cancel(self) -> object:
        """Cancel the scope."""
        return self._cancel()

    def cancelling(self) -> int:
        """Return 0: trio reminds a cancelled task at every step, so that nobody need ask."""
        return 0


class EventWaiter:
    """Waits with anyio's event."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


def current_loop() -> Loop:
    """Return the loop that the caller runs on.

    Raises:
        RuntimeError: If it runs on none.
    """
    if in_trio():
        return TrioLoop()
    return AsyncioLoop(asyncio.get_running_loop())


def find_loop() -> Loop | None:
    """Return the loop that the caller runs on, or None."""
    try:
        return current_loop()
    except RuntimeError:
        return None


def in_trio() -> bool:
    """Whether the caller runs in trio; a process that never loaded trio is not asked to."""
    trio: Any = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def is_cancelled(error: BaseException) -> bool:
    """Whether ``error`` ends the current task because somebody cancelled it.

    What a task gets that awaits another one, which was cancelled, looks the same on asyncio.
    """
    if in_trio():
        return isinstance(error, sys.modules["trio"].Cancelled)
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def nothing(*_: object) -> None:
    """Do nothing."""
