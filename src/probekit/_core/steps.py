"""Drive a check's coroutine step by step, to know who held the loop and to be able to let go."""

from __future__ import annotations

import contextlib
import types
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["Abandoned", "Steps"]

PATIENCE = 1000
"""Cancellations that a coroutine may swallow before it is driven no further.

Enough for any clean-up, and for timeouts of its own. A check that catches them all would be woken
for ever by trio, and by anyio's cancel scopes on asyncio, hundreds of thousands of times a second.
"""

WORTH_NOTING = 0.001
"""Seconds of a step that are left out of account: hundreds of checks have nothing but such."""


class Abandoned(BaseException):
    """The coroutine swallowed its cancellation and is no longer driven."""


class Steps:
    """Awaits a coroutine in the task of whoever awaits `drive`.

    Attributes:
        longest: Seconds of the longest step so far: how long the loop was held in one go.
        held: Seconds of all steps together that were `WORTH_NOTING`.
        patience: Cancellations that may still be swallowed.
    """

    __slots__ = ("_cancelled", "held", "longest", "patience")

    def __init__(self, cancelled: type[BaseException]) -> None:
        self.longest = 0.0
        self.held = 0.0
        self.patience = PATIENCE
        self._cancelled = cancelled

    @types.coroutine
    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run ``coroutine`` to its end and return its value.

        Raises:
            Abandoned: If its patience with a coroutine that swallows cancellation is over.
            BaseException: Whatever the coroutine raises.
        """
        step: Any = coroutine.send
        value: Any = None
        while True:
            started = perf_counter()
            try:
                awaited = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                took = perf_counter() - started
                if took > WORTH_NOTING:
                    self.held += took
                    self.longest = max(self.longest, took)
            step = coroutine.send
            try:
                value = yield awaited
            except self._cancelled as error:
                self._count(coroutine)
                step, value = coroutine.throw, error
            except BaseException as error:
                step, value = coroutine.throw, error
            else:
                # trio sends its errors in as values, wrapped by the `outcome` library
                if value is not None and isinstance(getattr(value, "error", None), self._cancelled):
                    self._count(coroutine)

    def was_cancelled(self) -> None:
        """Hear of every cancellation before the coroutine does."""

    def _count(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.was_cancelled()
        self.patience -= 1
        if self.patience < 0:
            let_go(coroutine)
            raise Abandoned


def let_go(coroutine: Coroutine[Any, Any, Any]) -> None:
    """End a coroutine that will not end: its ``finally`` blocks run as far as they do not wait."""
    for _ in range(PATIENCE):
        with contextlib.suppress(BaseException):
            coroutine.close()
            return
    # It swallows even that. Collecting it would print a traceback, and at the end of the process,
    # with the modules gone that it waits by, it might spin for ever: so it is never collected.
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
