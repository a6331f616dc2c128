"""A thread of its own for each sync check."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CheckThread"]


class CheckThread:
    """At most one thread, made when it is first needed and kept for the next run.

    A check that hangs takes this thread with it and nothing else: not the loop, not a place in a
    pool that the application uses. It is daemonic, so the process still exits.
    """

    __slots__ = ("_jobs", "_name", "_thread")

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> threading.Thread:
        """Run ``job`` on the thread, which is returned; it must not raise.

        Raises:
            RuntimeError: If there is no thread, and the system grants none.
        """
        if self._thread is None or not self._thread.is_alive():  # after a fork it is not
            self._jobs = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=_work, args=(self._jobs,), name=self._name, daemon=True
            )
            self._thread.start()
        self._jobs.put(job)
        return self._thread

    def stop(self) -> None:
        """Let the thread end when what it is doing is done; `submit` makes a new one."""
        self._jobs.put(None)
        self._thread = None


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # or the last run stays alive until the next
