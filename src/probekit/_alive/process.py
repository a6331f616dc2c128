"""What the kernel knows of a process that says nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from probekit._core.cpu import ENOUGH, seconds_of, ticks_of
from probekit._lifecycle.pod.key import after_the_name, text_of

if TYPE_CHECKING:
    from probekit._lifecycle.pod.records import Worker

__all__ = ["STARVED", "Sample", "cause_of", "sample", "wants_cpu"]

STARVED = "starved of CPU"
THREADS = 256
"""So many threads are looked at, at most."""


class Sample(NamedTuple):
    """A process at one moment.

    Attributes:
        state: The letter that ps(1) shows.
        cpu: Seconds of CPU time that it has used.
        started: When it was started (monotonic seconds).
    """

    state: str
    cpu: float
    started: float


def sample(pid: int) -> Sample | None:
    """Look at a process; None if there is none any more, or only its remains.

    Raises:
        OSError: If /proc does not show it.
    """
    fields = fields_of(f"/proc/{pid}/stat")
    if not fields or fields[0] in "ZX":
        return None
    # The kernel counts a start in time that goes on while the machine sleeps.
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return Sample(
        state=fields[0],
        cpu=seconds_of(ticks_of(fields)),
        started=seconds_of(int(fields[19])) - slept,
    )


def wants_cpu(pid: int) -> bool:
    """Whether a thread of the process runs, or would if there were a CPU for it."""
    threads = f"/proc/{pid}/task"
    try:
        names = os.listdir(threads)[:THREADS]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(fields_of(f"{threads}/{name}/stat")[:1] == ["R"] for name in names)


def fields_of(path: str) -> list[str]:
    """Return what the kernel says of a process or thread, from its state on; nothing if it ended.

    Raises:
        OSError: If /proc does not show it.
    """
    try:
        return after_the_name(text_of(path))
    except (FileNotFoundError, ProcessLookupError):
        return []


def cause_of(process: Sample, line: Worker, *, waits: bool) -> str:
    """Return why a process has said nothing for too long, in a few words.

    Args:
        process: How it is now.
        line: What it last said.
        waits: Whether it wanted a CPU whenever it was looked at.
    """
    if process.state in "Tt":
        return "stopped"
    # Python hands the GIL on every 5 ms, so that to say something takes next to no CPU time. How
    # fast the process computes tells nothing: a container may be allowed a tenth of a CPU.
    if process.cpu - line.cpu >= ENOUGH * line.stuck_after:
        return "cpu-bound, GIL held"
    return STARVED if waits else "blocked, GIL held"
