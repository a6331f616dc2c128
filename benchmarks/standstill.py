"""Servers that stand still, or are merely busy: how soon it is said, and that nothing else is."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import tests.alive
from tests.alive._beside import Beside
from tests.e2e.servers import lasting_port, serve
from tests.pod._workers import pod_environment
from tests.waiting import wait_until

from benchmarks.busy import busy_threads, load
from benchmarks.figures import Figure
from benchmarks.probed import SIDE, THREADS, THRESHOLD, beside_says, first, on_gthread, send
from benchmarks.servers import LOOP, on_uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

__all__ = ["standstill"]

ALIVE = Path(tests.alive.__path__[0]) / "_service.py"
ROUNDS = 3


def standstill() -> list[Figure]:
    """Measure busy threads, a deadlock, a loop that is held, a process that is, and sheer load."""
    return [*busy_threads(), *deadlock(), *held_loop(), *held_process(), *load()]


# -- threads -------------------------------------------------------------------------------------


def deadlock() -> list[Figure]:
    """Time the 503 once all threads wait for a lock that nobody gives back."""
    late = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as directory,
            on_gthread("deadlock.py", RELEASE=f"{directory}/release") as (server, side),
            ExitStack() as clients,
        ):
            began = time.monotonic()
            for _ in range(THREADS):
                send(clients, server, "/lock")
            message = first(side, 503).message or ""
            late.append(time.monotonic() - began - THRESHOLD)
            if f"all {THREADS} threads are busy with the same" not in message:
                raise RuntimeError(f"the answer has not the place of all threads: {message}")
            wait_until(partial(has_stacks, server), "the log has all stacks")
            Path(directory, "release").touch()
    return [
        Figure(
            name="side port, all threads in a deadlock: 503 after the threshold",
            measured=max(late),
            unit="s",
            target=1.0,
            how=f"gthread, worst of {ROUNDS}, median {median(late):.2f} s; the log has all stacks",
        )
    ]


def has_stacks(server: Server) -> bool:
    """Whether the log names every thread, above the stack that is the same for all."""
    log = server.log()
    return log.count(", GET /lock:\n") == THREADS and "in application: " in log


# -- one loop ------------------------------------------------------------------------------------

HOLDS = {
    "/sleep": ("time.sleep", "blocked in a call at "),
    "/compute": ("a loop in Python", "computing at "),
    "/acquire": ("a lock", "blocked in a call at "),
    "/receive": ("blocking I/O", "blocked in a call at "),
    "/readyz": ("a check", "(check 'heedless')"),
}
"""What to ask for, in words, and what the answer has to say."""


def held_loop() -> list[Figure]:
    """Time the 503 once something holds the event loop."""
    late: dict[str, list[float]] = {path: [] for path in HOLDS}
    side = lasting_port()
    with tempfile.TemporaryDirectory() as directory:
        release = Path(directory, "release")
        with on_uvicorn(SIDE / "held.py", SIDE_PORT=str(side), RELEASE=str(release)) as server:
            for _ in range(ROUNDS):
                for path, (_, place) in HOLDS.items():
                    late[path].append(until_noticed(server, side, path, place))
                    release.touch()
                    first(side, 200)
                    release.unlink()
    each = ", ".join(f"{words} {max(late[path]):.2f}" for path, (words, _) in HOLDS.items())
    return [
        Figure(
            name="side port, the loop is held: 503 after the threshold",
            measured=max(max(seconds) for seconds in late.values()),
            unit="s",
            target=0.3,
            how=f"{LOOP}, worst of {ROUNDS} each: {each}",
        )
    ]


def until_noticed(server: Server, side: int, path: str, place: str) -> float:
    """Return the seconds beyond the threshold from a request until the side port says 503."""
    with ExitStack() as clients:
        began = time.monotonic()
        send(clients, server, path)
        message = first(side, 503).message or ""
        late = time.monotonic() - began - THRESHOLD
    if place not in message or "holding.py:" not in message:
        raise RuntimeError(f"the answer to {path} has not {place!r} in it: {message}")
    return late


# -- a whole process -----------------------------------------------------------------------------

CAUSES = {"SIGSTOP": "stopped", "/call": "blocked, GIL held", "/regex": "cpu-bound, GIL held"}
"""What holds a process, or is asked for, and what is said of it."""


def held_process() -> list[Figure]:
    """Time the 503 of `probekit alive --port` once a worker can do nothing any more."""
    late: dict[str, list[float]] = {what: [] for what in CAUSES}
    for path in ("/call", "/regex") * ROUNDS:
        with workers() as (server, beside), ExitStack() as clients:
            frozen = beside_says(beside, "alive")[0]
            began = time.monotonic()
            os.kill(frozen, signal.SIGSTOP)
            late["SIGSTOP"].append(until_said(beside, "SIGSTOP", began))
            os.kill(frozen, signal.SIGCONT)
            wait_until(lambda: len(beside_says(beside, "alive")) == 2, "it goes on")
            began = time.monotonic()
            send(clients, server, path)
            late[path].append(until_said(beside, path, began))
    each = ", ".join(f"{cause} {max(late[what]):.2f}" for what, cause in CAUSES.items())
    return [
        Figure(
            name="probekit alive --port, a process is held: 503 after the threshold",
            measured=max(max(seconds) for seconds in late.values()),
            unit="s",
            target=0.5,
            how=f"worst of {ROUNDS} each or more: {each}",
        )
    ]


@contextmanager
def workers() -> Iterator[tuple[Server, Beside]]:
    """Run two workers, and the command beside them.

    They are killed: a process that holds its GIL cannot end by itself.
    """
    with tempfile.TemporaryDirectory() as runtime:
        environ = {"PROBEKIT_SCOPE": "pod", "PROBEKIT_RUNTIME_DIR": runtime}
        # uvicorn would replace the worker that it cannot ask.
        options = ["--workers", "2", "--timeout-worker-healthcheck", "60"]
        server = serve(ALIVE, f"uvicorn-{LOOP}", *options, port=None, measured=False, **environ)
        with server:
            try:
                with Beside(pod_environment(Path(runtime))) as beside:
                    wait_until(lambda: len(beside_says(beside, "alive")) == 2, "both are alive")
                    yield server, beside
            finally:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def until_said(beside: Beside, what: str, began: float) -> float:
    """Return the seconds beyond the threshold until the command names a worker and this cause."""
    cause = CAUSES[what]
    wait_until(lambda: beside_says(beside, "stuck", f": {cause}") != [], f"{cause} is noticed")
    return time.monotonic() - began - THRESHOLD
