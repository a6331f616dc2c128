"""What threads that stand still do: compute, wait in a call, or wait for a CPU."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probekit._core.cpu import ENOUGH, seconds_of, ticks_of
from probekit._lifecycle.pod.key import after_the_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["UNKNOWN", "Effort", "Load", "load_of"]

TASKS = Path("/proc/self/task")

UNKNOWN = "no sign of life"
"""The cause where the operating system does not tell."""

LOOKS = 5
"""Looks over which that is judged: on a busy machine a thread has its turn in slices, and between
two looks there may be none."""


class Load(NamedTuple):
    """What the operating system knows of some threads.

    Attributes:
        runnable: Whether one of them runs, or would if it got a CPU.
        seconds: The CPU time that all of them have used so far.
        awake: Seconds for which they have run or waited for a CPU so far, the wait under way left
            out; 0 where the system does not tell.
        turns: How often they have got one.
    """

    runnable: bool
    seconds: float
    awake: float = 0.0
    turns: int = 0

    def has_slept(self, before: Load, seconds: float) -> bool:
        """Whether they have slept for most of the time since, and are met awake by chance.

        A loop that sleeps a little again and again may keep step with whoever looks.
        """
        return self.turns > before.turns and self.awake - before.awake < seconds / 2


class Effort:
    """Follows some threads from tick to tick while they show no sign of life.

    Args:
        tasks: Where the operating system describes the threads of this process; where it does not,
            nothing is known.

    Attributes:
        starved: Whether they want a CPU and get too little of it, as far as the last look tells.
    """

    def __init__(self, tasks: Path = TASKS) -> None:
        self._tasks = tasks
        self.forget()

    def forget(self) -> None:
        """Begin anew: they have moved."""
        self.starved: bool = False
        self._before: Load | None = None
        self._lately: deque[tuple[float, float]] = deque(maxlen=LOOKS)
        self._used = self._over = 0.0

    def skip(self) -> None:
        """Leave out the time since the last look."""
        self._before = None

    def count(self, natives: Iterable[int], seconds: float) -> float:
        """Look, and return for how many of the seconds since the last look they are to blame.

        For all of them, unless they wanted a CPU and got too little of it: for a thread that is
        starved, no more time has passed than what it has computed.

        Args:
            natives: The threads, as the operating system calls them.
            seconds: How long ago the last look was.
        """
        before, now = self._before, load_of(natives, self._tasks)
        self._before = now
        if before is None or now is None:
            return seconds
        used = now.seconds - before.seconds
        self._lately.append((used, seconds))
        lately, over = map(sum, zip(*self._lately, strict=True))
        too_little = now.runnable and lately < ENOUGH * over
        self.starved = too_little and not now.has_slept(before, seconds)
        counted = used if self.starved else seconds
        self._used += used
        self._over += counted
        return counted

    @property
    def cause(self) -> str:
        """What they have been doing since they stand still."""
        if self._over <= 0:
            return UNKNOWN
        return "computing" if self._used >= ENOUGH * self._over else "blocked in a call"


def load_of(natives: Iterable[int], tasks: Path = TASKS) -> Load | None:
    """Return what the operating system knows of some threads; None if of one it knows nothing."""
    runnable, ticks, awake, turns = False, 0, 0, 0
    known = False
    for native in natives:
        try:
            stat = (tasks / str(native) / "stat").read_text(encoding="utf-8", errors="replace")
            fields = after_the_name(stat)
            ticks += ticks_of(fields)
        except (OSError, IndexError, ValueError):  # not there, or not as Linux writes it
            return None
        runnable = runnable or fields[0] == "R"
        known = True
        with suppress(OSError, ValueError):  # not every kernel tells
            run, waited, got = map(int, (tasks / str(native) / "schedstat").read_text().split())
            awake, turns = awake + run + waited, turns + got
    if not known:
        return None
    return Load(runnable, seconds_of(ticks), awake / 1e9, turns)
