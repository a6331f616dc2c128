"""A standstill: since when, what holds the process, and where."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Stall"]


class Stall(NamedTuple):
    """The process stands still.

    Attributes:
        since: When it last moved (monotonic seconds).
        cause: What holds it, in a few words: ``"blocked in a call"``, ``"computing"``,
            ``"all 4 threads are busy with the same requests, blocked in a call"``.
        where: File, line and function that hold it, as ``"app.py:22 in handler"``; empty if nobody
            knows.
        task: The name of the task or of the thread; empty if nobody knows.
        check: The name of the check that holds it; empty if it is none.
        stack: The whole stack, a line each, the innermost last; under WSGI those of all threads.
            For operators: it shows lines of the source. Empty until it has been read.
    """

    since: float
    cause: str
    where: str = ""
    task: str = ""
    check: str = ""
    stack: str = ""

    def __str__(self) -> str:
        """Say it in one line, without the stack."""
        where = f" at {self.where}" if self.where else ""
        what = f"check {self.check!r}" if self.check else self.task
        return f"{self.cause}{where}{f' ({what})' if what else ''}"
