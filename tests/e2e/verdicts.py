"""What was wrong with what came of a moment, beside what the bare application does in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .cells import CELLS
from .moments import MOMENTS
from .stages import LEAVE, SOON, SUPERVISED, play

if TYPE_CHECKING:
    from .stages import Moment, Outcome

__all__ = ["complaints", "tardy"]

NOISE = 1.5
"""Seconds by which what is equally fast may differ on a busy machine."""
GRACE = 2.0
"""Seconds that threads have to end by themselves where the main thread was interrupted."""
AT_ONCE = 0.5
"""Seconds by which the best of some repetitions may be slower than the bare application."""
EARLY = 0.1
"""Seconds before the end of the drain from which nobody is blamed for a request that failed."""
TRIES = 8
"""How often the bare application is played at most to find out all that it may do."""

PLAIN: dict[tuple[str, str], list[Outcome]] = {}
"""What the bare application did in a moment on a cell, as often as it was asked."""


def reference(name: str, cell: str, ours: Outcome) -> Outcome:
    """Return what the bare application does, which is what ours is compared with.

    That may be a matter of luck: where trio is when Ctrl-C comes decides how it ends. So it is
    played until it ends as ours did, or often enough to say that it never does.
    """
    played = PLAIN.setdefault((name, cell), [])
    while True:
        for plain in played:
            if ending(plain) == ending(ours):
                return plain
        if len(played) >= TRIES:
            return played[-1]
        played.append(play(MOMENTS[name], cell, plain=True))


def tardy(name: str, cell: str, seconds: float) -> list[str]:
    """Return whether the last signal was obeyed later than the bare application obeys it.

    Args:
        name: A key of `MOMENTS`.
        cell: A key of `CELLS`.
        seconds: From the last signal to the end, of the best or the middle of some repetitions.
    """
    moment = MOMENTS[name]
    if not moment.prompt or moment.unheard(cell):
        return []
    played = PLAIN.setdefault((moment.prompt, cell), [])
    if not played:
        played.append(play(MOMENTS[moment.prompt], cell, plain=True))
    bare = min(plain.since for plain in played)
    if seconds <= bare + AT_ONCE:
        return []
    return [f"left {seconds:.2f} s after the last signal, the bare application after {bare:.2f} s"]


def ending(outcome: Outcome) -> tuple[int | None, int, int]:
    """Return how a server ended: the exit status, the lifespans started and those shut down."""
    return outcome.status, outcome.started, outcome.stopped


def complaints(name: str, cell: str, outcome: Outcome) -> list[str]:
    """Return what was not as it should be.

    Args:
        name: A key of `MOMENTS`.
        cell: A key of `CELLS`.
        outcome: Of that moment, there.
    """
    moment = MOMENTS[name]
    lasts = moment.lasts(cell)
    workers = CELLS[cell].workers
    expected: tuple[int | None, int, int] = CELLS[cell].status, workers, workers
    most = lasts + (NOISE if moment.least and cell not in SUPERVISED else LEAVE)
    found = [outcome.trouble] if outcome.trouble else []
    if moment.like:
        plain = reference(moment.like, cell, outcome)
        expected = ending(plain)
        most = min(most, lasts + plain.seconds) + NOISE
        if cell in moment.outlived:
            expected = plain.status, workers, workers
            most += GRACE
        lines = server_lines(outcome.log), server_lines(plain.log)
        if moment.same_log and lines[0] != lines[1]:
            found.append(f"it printed {lines[0]} and not {lines[1]}")
    if ending(outcome) != expected:
        found.append(
            f"exit status, lifespans started and stopped {ending(outcome)}, not {expected}"
        )
    if outcome.orphans:
        found.append(f"{outcome.orphans} processes left behind")
    if not lasts - EARLY < outcome.seconds < most:
        found.append(f"left after {outcome.seconds:.2f} s")
    return found + (of_the_drain(moment, cell, outcome) if moment.drains else [])


def of_the_drain(moment: Moment, cell: str, outcome: Outcome) -> list[str]:
    """Return what was wrong with the answers while it drained."""
    found = []
    late, alone = CELLS[cell].late, CELLS[cell].workers < 2
    unready = [seconds for seconds, status in outcome.readiness if status == 503]
    ready = [seconds for seconds, status in outcome.readiness if status != 503]
    # Of two workers one may hear of the signal a little later than the other.
    if ready and (ready[-1] > SOON + late or (alone and unready and ready[-1] > unready[0])):
        found.append(f"readiness passed {ready[-1]:.2f} s after the signal")
    if moment.soon is None:
        return found  # nobody is served until it is over, and some who waited are lost
    if not (unready and unready[0] < moment.soon + late):
        found.append(f"readiness failed after {unready[:1]} s")
    lasts = moment.lasts(cell)
    if early := [seconds for seconds in outcome.failed if seconds < lasts - EARLY]:
        found.append(f"{len(early)} requests failed, the first after {early[0]:.2f} s")
    return found


def server_lines(log: str) -> list[str]:
    """Return what a server printed, without numbers and without what probekit told."""
    lines = [re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", line) for line in log.splitlines()]
    return sorted(line for line in lines if "probekit" not in line)
