"""A thread that does something every so often, as long as somebody needs it."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Companion", "Keeper"]

logger = logging.getLogger("probekit")

PERIOD = 0.5
"""Seconds between two looks: so old may the flag be that an ordinary response goes by."""


class Companion(Protocol):
    """What goes along with a service on a thread: it must not raise."""

    def keep(self) -> None:
        """Do what is to be done twice a second."""
        ...

    def leave(self) -> None:
        """Do what is to be done at the end, in a few seconds at most."""
        ...


class Keeper:
    """Does something every so often, on a thread of its own, which no event loop can hold up.

    Args:
        task: What to do: a method. What it raises is logged, once in a row. It may return how many
            seconds from now it is to be done again, if there is nothing to do between.
        between: What to do halfway to the next time, if it is so cheap and raises nothing: likewise
            a method.
        name: What the thread is called.
        period: Seconds between two times.
        trouble: What the log says if it raises something.
    """

    def __init__(
        self,
        task: Callable[[], float | None],
        *,
        between: Callable[[], None] | None = None,
        name: str = "probekit:pod",
        period: float = PERIOD,
        trouble: str = "shared state: probekit failed to look after it; it goes on",
    ) -> None:
        # Weakly, or the thread would keep an application alive that nobody has any more.
        self._task = weakref.WeakMethod(task)
        self._between = None if between is None else weakref.WeakMethod(between)
        self._name = name
        self._period = period
        self._trouble = trouble
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not been stopped; in a child that was forked it has not."""
        return self._ended is not None and self._pid == os.getpid()

    def start(self) -> None:
        """Begin, if it is not under way.

        Raises:
            RuntimeError: If no thread can be started; the next call tries again.
        """
        if not self.under_way:
            ended = threading.Event()
            thread = threading.Thread(
                target=keep,
                args=(self._task, ended, self._period, self._trouble, self._between),
                name=self._name,
                daemon=True,
            )
            thread.start()  # first: where there is none to be had, it is not under way
            self._pid, self._ended, self._thread = os.getpid(), ended, thread

    def stop(self) -> None:
        """Do it no more."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def wait(self, seconds: float) -> None:
        """Return when it does it no more after `stop`, or after so long."""
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(seconds)


def keep(
    task: weakref.WeakMethod[Callable[[], float | None]],
    ended: threading.Event,
    period: float,
    trouble: str,
    between: weakref.WeakMethod[Callable[[], None]] | None,
) -> None:
    """Do it every so often, until the event is set or there is nobody to do it for."""
    failed = False
    while not ended.is_set() and (call := task()) is not None:
        pause = None
        try:
            pause = call()
            failed = False
        except Exception:
            if not failed:
                logger.exception("%s", trouble)
            failed = True
        del call
        if between is None:
            ended.wait(period if pause is None else pause)
            continue
        if not ended.wait(period / 2) and (call := between()) is not None:
            call()
            del call
        ended.wait(period / 2)
