"""SIGTERM at awkward moments, on real servers."""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, wait_until

from .cells import CELLS
from .clients import get
from .stages import ON, SOON, SUPERVISED, Moment, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOMENTS"]

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
    """Signal while the application is imported, in every worker."""
    stage.await_note("importing", by=stage.cell.workers or 1)
    stage.send()


def starting(stage: Stage) -> None:
    """Signal while the lifespan starts, in every worker."""
    stage.await_note("starting", by=stage.cell.workers)
    stage.send()


def drained(stage: Stage) -> None:
    """Signal amid a drain that somebody else began: from then on nobody can end it."""
    stage.await_service()
    if (status := stage.answers("/admin/drain", "POST")) != 202:
        raise RuntimeError(f"the drain was answered {status}")
    stage.send()
    came = b"came: the process is leaving"
    patience = SOON + stage.cell.late
    wait_until(lambda: came in get(stage.port, "/admin/drain").body, "it came", patience=patience)
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


UVICORN = tuple(name for name in ON if name.startswith("uvicorn") and name not in SUPERVISED)
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
    "again": Moment("a second SIGTERM", again, delay=3.0, least=AGAIN, prompt="ready"),
    "interrupt": Moment(
        "SIGINT alone",
        interrupt,
        delay=5.0,
        drains=False,
        like="interrupt",
        prompt="interrupt",
        # The workers of the others get SIGTERM.
        cells=tuple(name for name in ON if not name.startswith(("granian", "uvicorn/workers"))),
    ),
    "interrupted": Moment(
        "SIGINT amid the drain",
        functools.partial(again, number=signal.SIGINT),
        delay=5.0,
        least=AGAIN,
        like="interrupt",
        prompt="interrupt",
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
