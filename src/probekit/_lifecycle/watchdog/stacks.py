"""Where the threads of this process stand: by their frames, or by what faulthandler writes."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Protocol

from probekit._lifecycle.watchdog.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Frames", "Stacks", "TimerFile", "best_stacks"]

DEEPEST = 200
"""Frames of a stack; a recursion has more."""
LONGEST = 1024 * 1024
"""Bytes of what faulthandler may have written."""

THREAD = re.compile(r"^(?:Current t|T)hread 0x([0-9a-f]+)")
PLACE = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')


class Stacks(Protocol):
    """What tells where threads stand.

    Attributes:
        ask_tasks: Whether the loop may be asked which task it runs.
    """

    ask_tasks: bool

    def moved(self, now: float) -> None:
        """Hear that the process moves, at so many seconds."""
        ...

    def of(self, threads: Iterable[int]) -> dict[int, list[Place]]:
        """Return the stack of each thread that is known, the innermost first."""
        ...

    def close(self) -> None:
        """Hear that nobody watches any more."""
        ...


def best_stacks(after: float, *, free_threaded: bool) -> Stacks:
    """Return what serves this interpreter.

    Args:
        after: Seconds after which a process is stuck.
        free_threaded: Whether it has no GIL. There, to ask for frames stops the world, and waits
            for ever for a thread that is in a call which never lets go.
    """
    return TimerFile(after) if free_threaded else Frames()


class Frames:
    """Asks the interpreter."""

    ask_tasks = True

    def moved(self, now: float) -> None:
        """Do nothing."""

    def of(self, threads: Iterable[int]) -> dict[int, list[Place]]:
        """Return the stacks as they are now."""
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, for debuggers
        found: dict[int, list[Place]] = {}
        for thread in threads:
            frame, places = frames.get(thread), list[Place]()
            while frame is not None and len(places) < DEEPEST:
                code = frame.f_code
                places.append(Place(code.co_filename, frame.f_lineno or 0, code.co_name))
                frame = frame.f_back
            if places:
                found[thread] = places
        return found

    def close(self) -> None:
        """Do nothing."""


class TimerFile:
    """Lets faulthandler's own thread write the stacks to a file, unless it is put off in time.

    That thread is none of Python's and waits for nobody. There is one such timer in a process.

    Args:
        after: Seconds without a sign of life after which it writes.
    """

    ask_tasks = False

    def __init__(self, after: float) -> None:
        self._after = after
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._closed = False
        self._pid = os.getpid()
        self._due = 0.0

    def moved(self, now: float) -> None:
        """Put it off, if it was not just now."""
        if now < self._due:
            return
        self._due = now + min(1.0, self._after / 4)
        with self._lock:
            # In a child that was forked the timer's thread is gone, and to cancel it would wait.
            if self._closed or self._pid != os.getpid():
                return
            faulthandler.cancel_dump_traceback_later()
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            self._file.seek(0)
            self._file.truncate()
            faulthandler.dump_traceback_later(self._after, file=self._file)

    def of(self, threads: Iterable[int]) -> dict[int, list[Place]]:
        """Return the stacks as they were when it wrote them."""
        with self._lock:
            if self._file is None:
                return {}
            text = os.pread(self._file.fileno(), LONGEST, 0).decode(errors="replace")
        stacks = parse(text)
        return {thread: stacks[thread] for thread in threads if thread in stacks}

    def close(self) -> None:
        """Let it write no more."""
        with self._lock:
            self._closed = True
            if self._file is not None and self._pid == os.getpid():
                faulthandler.cancel_dump_traceback_later()
                self._file.close()
                self._file = None


def parse(text: str) -> dict[int, list[Place]]:
    """Return the stacks in what faulthandler has written, by thread."""
    stacks: dict[int, list[Place]] = {}
    places: list[Place] = []
    for line in text.splitlines():
        if found := THREAD.match(line):
            places = stacks[int(found[1], 16)] = []
        elif found := PLACE.match(line):
            places.append(Place(found[1], int(found[2]), found[3]))
    return stacks
