"""SIGTERM at awkward moments, on real servers, as often as wanted."""

from __future__ import annotations

import argparse
import functools
import os
import random
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, wait_until

from .cells import CELLS
from .clients import get
from .stages import LEAVE, ON, SOON, SUPERVISED, Moment, Outcome, Stage, play

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOMENTS", "complaints"]

NOISE = 1.5
"""Seconds by which what is equally fast may differ on a busy machine."""
GRACE = 2.0
"""Seconds that threads have to end by themselves where the main thread was interrupted."""
EARLY = 0.1
"""Seconds before the end of the drain from which nobody is blamed for a request that failed."""
TRIES = 8
"""How often the bare application is played at most to find out all that it may do."""
AGAIN = 1.2
"""Seconds after which the second signal is sent."""


def at_once(stage: Stage) -> None:
    """Send one signal to a server that is ready."""
    stage.await_service()
    stage.send()


def interrupt(stage: Stage) -> None:
    """Send SIGINT and nothing else."""
    stage.await_service()
    stage.send(signal.SIGINT)


def blocked(stage: Stage) -> None:
    """Signal while a request blocks the event loop; the request is answered."""
    stage.await_service()
    answers: list[int | None] = []
    blocker = threading.Thread(target=lambda: answers.append(stage.answers("/block")))
    blocker.start()
    stage.await_note("blocking")
    stage.send()
    blocker.join(PATIENCE)
    if answers != [200]:
        raise RuntimeError(f"the blocking request was answered {answers}")


def twice(stage: Stage) -> None:
    """Send two signals within a millisecond."""
    stage.await_service()
    stage.send()
    time.sleep(random.uniform(0.0, 0.001))  # without a pause they would be one
    stage.send()


def nested(stage: Stage) -> None:
    """Have a signal handler of the application's raise the signal."""
    stage.await_service()
    stage.send(signal.SIGUSR2, to=stage.await_note("importing"))
    stage.await_note("nested")


def importing(stage: Stage) -> None:
    """Signal while the application is imported."""
    stage.await_note("importing")
    stage.send()


def starting(stage: Stage) -> None:
    """Signal while the lifespan starts."""
    stage.await_note("starting")
    stage.send()


def drained(stage: Stage) -> None:
    """Signal amid a drain that somebody else began: from then on nobody can end it."""
    stage.await_service()
    if (status := stage.answers("/admin/drain", "POST")) != 202:
        raise RuntimeError(f"the drain was answered {status}")
    stage.send()
    came = b"came: the process is leaving"
    wait_until(lambda: came in get(stage.port, "/admin/drain").body, "it came", patience=SOON)
    if (status := stage.answers("/admin/drain", "DELETE")) != 409:
        raise RuntimeError(f"the end of the drain was answered {status}")


def hanging(stage: Stage) -> None:
    """Signal while a check hangs."""
    stage.await_service()
    if not stage.plain:
        stage.await_note("hanging")
    stage.send()


def again(stage: Stage, number: signal.Signals = signal.SIGTERM) -> None:
    """Signal once more when it is no duplicate."""
    at_once(stage)
    with suppress(TimeoutError):
        stage.wait(AGAIN)
    stage.send(number)


def worker(stage: Stage) -> bytes | None:
    """Return the process that answers, as it names itself; None if none does."""
    with suppress(OSError, HTTPException):  # one that is on its way out may close the connection
        return get(stage.port, "/").body
    return None


def reload(stage: Stage) -> None:
    """Touch a file that is watched, and wait until another process answers."""
    stage.await_service()
    before = worker(stage)
    time.sleep(0.3)  # its reloader has a first look 0.25 s after the start, and compares with that
    stage.began = time.monotonic()
    os.utime(stage.app)
    wait_until(lambda: worker(stage) not in {before, None}, "another process answers")
    stage.ended = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(stage.pid, signal.SIGTERM)


UVICORN = tuple(name for name in ON if name.startswith("uvicorn"))
ALONE = tuple(name for name in ON if name not in SUPERVISED)
LIFESPAN = tuple(name for name in ON if CELLS[name].workers)

MOMENTS: Mapping[str, Moment] = {
    "ready": Moment("nothing awkward, to compare", at_once),
    "blocked": Moment("the event loop is blocked", blocked, delay=2.5, soon=2.0 + SOON),
    "blocked-past": Moment("it is blocked for longer than the drain", blocked, soon=None),
    "twice": Moment("two signals within a millisecond", twice),
    "nested": Moment("another signal handler raises it", nested, cells=ALONE),
    "importing": Moment(
        "the import takes a while",
        importing,
        {"IMPORTING": "1"},
        drains=False,
        like="importing",
    ),
    "starting": Moment(
        "the lifespan takes a while to start",
        starting,
        {"STARTING": "1"},
        drains=False,
        like="starting",
        cells=LIFESPAN,
    ),
    "drained": Moment("amid a drain by POST", drained, delay=1.0),
    "daemon": Moment("a daemon thread never ends", at_once, {"THREAD": "daemon"}),
    "thread": Moment(
        "a thread never ends that is no daemon",
        at_once,
        {"THREAD": "other"},
        like="thread",
        outlived=("hypercorn/trio",),
    ),
    "sync-check": Moment("a check hangs on a thread", hanging, {"HANG": "sync"}),
    "async-check": Moment("a check hangs on the loop", hanging, {"HANG": "async"}),
    "again": Moment("a second SIGTERM", again, delay=3.0, least=AGAIN),
    "interrupt": Moment(
        "SIGINT alone",
        interrupt,
        delay=5.0,
        drains=False,
        like="interrupt",
        cells=tuple(name for name in ON if name != "granian/1"),  # its worker gets SIGTERM
    ),
    "interrupted": Moment(
        "SIGINT amid the drain",
        functools.partial(again, number=signal.SIGINT),
        delay=5.0,
        least=AGAIN,
        like="interrupt",
        cells=ALONE,
    ),
    "zero": Moment("a drain for 0 s", at_once, delay=0, drains=False, like="zero", same_log=True),
    "reload": Moment(
        "a file that is watched changes",
        reload,
        options=("--reload",),
        delay=None,
        drains=False,
        like="reload",
        cells=UVICORN,
        copied=True,
    ),
}
"""By the names that the command line takes."""


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
    return found + (of_the_drain(moment, lasts, outcome) if moment.drains else [])


def of_the_drain(moment: Moment, lasts: float, outcome: Outcome) -> list[str]:
    """Return what was wrong with the answers while it drained."""
    found = []
    unready = [seconds for seconds, status in outcome.readiness if status == 503]
    ready = [seconds for seconds, status in outcome.readiness if status != 503]
    if ready and (ready[-1] > SOON or (unready and ready[-1] > unready[0])):
        found.append(f"readiness passed {ready[-1]:.2f} s after the signal")
    if moment.soon is None:
        return found  # nobody is served until it is over, and some who waited are lost
    if not (unready and unready[0] < moment.soon):
        found.append(f"readiness failed after {unready[:1]} s")
    if early := [seconds for seconds in outcome.failed if seconds < lasts - EARLY]:
        found.append(f"{len(early)} requests failed, the first after {early[0]:.2f} s")
    return found


def server_lines(log: str) -> list[str]:
    """Return what a server printed, without numbers and without what probekit told."""
    lines = [re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", line) for line in log.splitlines()]
    return sorted(line for line in lines if "probekit" not in line)


def main() -> int:
    """Print a line for each moment and server; return 0 if all went well, and 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.moments", description=__doc__)
    add = parser.add_argument
    add("moments", nargs="*", metavar="moment", help=f"by default all: {', '.join(MOMENTS)}")
    add("--on", nargs="+", metavar="server", default=ON, help=f"by default {', '.join(ON)}")
    add("--runs", type=int, default=1, metavar="N", help="play each N times")
    add("--verbose", action="store_true", help="print the log of what went wrong")
    asked = parser.parse_args()
    if unknown := ({*asked.moments} - {*MOMENTS}) | ({*asked.on} - {*CELLS}):
        parser.error(f"no {', '.join(sorted(unknown))}")
    clean = True
    for name in asked.moments or MOMENTS:
        for cell in asked.on:
            if cell in MOMENTS[name].cells:
                clean &= repeat(name, cell, asked.runs, verbose=asked.verbose)
    return 0 if clean else 1


def repeat(name: str, cell: str, runs: int, *, verbose: bool) -> bool:
    """Play a moment so many times, and print a line; return whether all went well."""
    outcomes = [play(MOMENTS[name], cell) for _ in range(runs)]
    bad = [(found, each) for each in outcomes if (found := complaints(name, cell, each))]
    took = [each.seconds for each in outcomes]
    hung = sum(found != [] and each.status is None for found, each in bad)
    orphans = sum(each.orphans > 0 for each in outcomes)
    say(
        f"{name:13} {cell:27} {runs:4} runs {runs - len(bad):4} ok {hung:3} hung "
        f"{orphans:3} orphans {len(bad):3} wrong  left after {min(took):.2f}-{max(took):.2f} s"
    )
    for found, each in bad:
        say(f"    {'; '.join(found)}" + (f"\n{each}\n{each.log}" if verbose else ""))
    return not bad


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
