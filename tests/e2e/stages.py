"""A server with the application `moments` on it, what happens to it, and what comes of it."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.waiting import PATIENCE, wait_until

from .cells import CELLS
from .clients import request
from .rolling import kill
from .servers import APPS, SERVERS, Server, lasting_port, session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["LEAVE", "ON", "SOON", "SUPERVISED", "Moment", "Outcome", "Stage", "play"]

ON = (
    "uvicorn/asyncio",
    "uvicorn/uvloop",
    "hypercorn/asyncio",
    "hypercorn/trio",
    "gunicorn/uvicorn-worker-w1",
    "gunicorn/asgi-w1",
    "granian/1",
    "daphne",
    "uvicorn/workers2",
    "granian/2",
)
"""The cells that moments are played on: the application is in one process, or in two."""

SUPERVISED = frozenset(
    name for name in ON if name.startswith(("gunicorn", "granian", "uvicorn/workers"))
)
"""Where the application is in a child of the process that gets the signal."""

LEAVE = 4.0
"""Seconds that leaving may take beside the drain, on a busy machine; it hangs if it takes more."""
SOON = 0.5
"""Seconds after a worker has got the signal in which its readiness must fail."""

ORCHESTRATORS = (
    "KUBERNETES_SERVICE_HOST",
    "ECS_CONTAINER_METADATA_URI_V4",
    "NOMAD_ALLOC_ID",
    "K_SERVICE",
    "FLY_ALLOC_ID",
)
"""What probekit takes for a sign of one; these servers see none."""
SETTINGS = ("PROBEKIT_DRAIN_DELAY", "PROBEKIT_SCOPE")
"""What probekit may have been told for something else than these servers."""


class Stage(Server):
    """A server of the application `moments`, with what it noted of itself.

    Args:
        cell: A key of `CELLS`.
        moment: What happens to it.
        directory: Where notes are left.
        plain: Whether the application is bare.
    """

    def __init__(self, cell: str, moment: Moment, directory: Path, *, plain: bool) -> None:
        port = lasting_port()
        on, options = CELLS[cell].on, [*CELLS[cell].options, *moment.options]
        self.app = APPS / "moments.py"
        if moment.copied:
            self.app = directory / self.app.name
            self.app.write_bytes((APPS / "moments.py").read_bytes())
            options += ["--reload-dir", str(directory)]
        # As in real life a drain reaches every worker, also where the tests have set the scope.
        forget = [f"--unset={variable}" for variable in (*ORCHESTRATORS, *SETTINGS)]
        given = [] if moment.delay is None else [f"PROBEKIT_DRAIN_DELAY={moment.delay}"]
        paths = [str(self.app.parent), os.environ.get("PYTHONPATH")]
        command = [sys.executable, "-m", *SERVERS[on](self.app, port, *options)]
        # A shell's background job would hand on that SIGINT is ignored, which trio ends by.
        super().__init__(
            ["env", "--default-signal=INT", *forget, *given, *command],
            port=port,
            measured=False,
            **({"PLAIN": "1"} if plain else {}),
            **moment.environ,
            NOTES=str(directory),
            PYTHONFAULTHANDLER="1",
            PYTHONPATH=os.pathsep.join(filter(None, paths)),
            XDG_RUNTIME_DIR=str(directory),  # where gunicorn puts its control socket
        )
        self.cell = CELLS[cell]
        self.plain = plain
        self.began = 0.0
        self.last = 0.0
        self.ended: float | None = None
        self._directory = directory

    def noted(self, what: str) -> list[int]:
        """Return the processes that left this note."""
        return [int(note.stem) for note in self._directory.glob(f"*.{what}")]

    def await_note(self, what: str, *, by: int = 1) -> int:
        """Return a process that leaves this note, when so many have."""
        wait_until(lambda: len(self.noted(what)) >= by or not self.running(), f"it notes {what}")
        return self.noted(what)[0]

    def await_service(self) -> None:
        """Return when every worker has started and one is ready, or answers if it is bare."""
        path = "/" if self.plain else "/readyz"
        if self.cell.workers:
            self.await_note("started", by=self.cell.workers)
        wait_until(lambda: self.answers(path) == 200 or not self.running(), "it is ready")

    def answers(self, path: str, method: str = "GET", *, patience: float = 3.0) -> int | None:
        """Return the status of a response, or None if there is none."""
        with suppress(OSError, HTTPException):
            return request(self.port, method, path, patience=patience).status
        return None

    def send(self, number: signal.Signals = signal.SIGTERM, *, to: int | None = None) -> None:
        """Send a signal; the first of them begins the moment."""
        self.last = time.monotonic()
        self.began = self.began or self.last
        with suppress(ProcessLookupError):
            os.kill(to or self.pid, number)

    def _listens(self) -> bool:
        return True  # some signals come before


class Witness:
    """Asks for readiness and for an ordinary page in turn; a context manager."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._answers: list[tuple[str, float, float, int | None]] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="witness")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End."""
        self._ends.set()
        self._thread.join(PATIENCE)

    def readiness(self) -> list[tuple[float, int]]:
        """Return the answers after the signal, each with its seconds since then."""
        began = self._stage.began
        return [
            (answered - began, status)
            for path, asked, answered, status in self._answers
            if path == "/readyz" and asked > began and status is not None
        ]

    def failed(self) -> list[float]:
        """Return when ordinary requests failed, in seconds since the signal."""
        began = self._stage.began
        return [
            asked - began
            for path, asked, _, status in self._answers
            if path == "/" and asked > began and status != 200
        ]

    def _ask(self) -> None:
        while not self._ends.wait(0.01):
            for path in ("/readyz", "/"):
                asked = time.monotonic()
                status = self._stage.answers(path)
                self._answers.append((path, asked, time.monotonic(), status))


class Moment(NamedTuple):
    """What happens to a server.

    Args:
        says: What it is, for people.
        act: Brings it about, up to the last signal.
        environ: What the application is told.
        options: Further arguments of the server.
        delay: PROBEKIT_DRAIN_DELAY in seconds; None: not set.
        least: For how many seconds it must go on serving, by default as long as the drain.
        soon: Seconds in which readiness must fail; None: nobody can be served meanwhile.
        drains: Whether it drains; if not, readiness is none of the matter.
        like: The moment that the bare application is played in, to compare; "" for none.
        prompt: The moment of the bare application than which it must be as fast after the last
            signal, where that reaches it; "" for none.
        same_log: Whether that must have printed the same.
        cells: Where it is played.
        copied: Whether it works on a copy of the application, which may be touched.
        outlived: Where the bare application dies of it at once, and ours does when its lifespan has
            ended and its threads have had a moment.
    """

    says: str
    act: Callable[[Stage], None]
    environ: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    delay: float | None = 0.6
    least: float | None = None
    soon: float | None = SOON
    drains: bool = True
    like: str = ""
    prompt: str = ""
    same_log: bool = False
    cells: tuple[str, ...] = ON
    copied: bool = False
    outlived: tuple[str, ...] = ()

    def lasts(self, cell: str) -> float:
        """Return for how many seconds after the signal everything must be served."""
        if not self.drains:
            return 0.0
        return (self.delay if self.least is None or self.unheard(cell) else self.least) or 0.0

    def unheard(self, cell: str) -> bool:
        """Return whether the last signal is one that a supervisor does not pass on."""
        return self.least is not None and cell in SUPERVISED


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it.

    Args:
        status: The exit status, as a shell counts; None if it hung.
        seconds: From the first signal to the end.
        since: From the last signal to the end.
        started: How many lifespans had started.
        stopped: How many were shut down.
        orphans: How many processes were left behind.
        readiness: The answers after the signal, each with its seconds since then.
        failed: When ordinary requests failed, likewise.
        trouble: What went wrong on the way.
        log: What the server printed.
    """

    status: int | None
    seconds: float
    since: float
    started: int
    stopped: int
    orphans: int
    readiness: list[tuple[float, int]] = field(repr=False)
    failed: list[float] = field(repr=False)
    trouble: str
    log: str = field(repr=False)


def play(moment: Moment, cell: str, *, plain: bool = False) -> Outcome:
    """Play a moment.

    Args:
        moment: What happens.
        cell: A key of `CELLS`.
        plain: Whether with the bare application.
    """
    trouble = ""
    status: int | None = None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        stage = Stage(cell, moment, Path(directory), plain=plain)
        with stage, Witness(stage) as witness:
            try:
                moment.act(stage)
            except (OSError, RuntimeError, IndexError) as error:  # a TimeoutError is an OSError
                trouble = f"{type(error).__name__}: {error}"
            with suppress(TimeoutError):
                code = stage.wait(LEAVE + (0.0 if plain else moment.lasts(cell)))
                status = code if code >= 0 else 128 - code
            ended = stage.ended or time.monotonic()
            return Outcome(
                status=status,
                seconds=ended - stage.began,
                since=ended - (stage.last or stage.began),
                orphans=clear(stage, hung=status is None),
                started=len(stage.noted("started")),
                stopped=len(stage.noted("stopped")),
                readiness=witness.readiness(),
                failed=witness.failed(),
                trouble=trouble,
                log=stage.log().replace(directory, "DIRECTORY"),
            )


def clear(stage: Stage, *, hung: bool) -> int:
    """End what still runs; return how many processes were left behind by a server that ended."""
    if hung:
        for pid in session(stage.pid):  # each prints where its threads are
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
    # A helper such as multiprocessing's resource tracker sees with its own eyes that it may go.
    with suppress(TimeoutError):
        wait_until(lambda: not session(stage.pid), "it leaves no process", patience=1.0)
    left = kill(stage)
    return 0 if hung else left
