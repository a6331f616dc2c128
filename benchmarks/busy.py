"""Servers that have too much to do but move: a probe that fails would be a false alarm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Event
from typing import TYPE_CHECKING

from tests.alive._beside import Beside
from tests.e2e.clients import Answer, Connection, get
from tests.e2e.servers import lasting_port
from tests.pod._workers import pod_environment
from tests.waiting import PATIENCE, wait_until

from benchmarks.figures import Figure
from benchmarks.probed import SIDE, THREADS, THRESHOLD, beside_says, on_gthread
from benchmarks.servers import on_uvicorn, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.servers import Server

__all__ = ["busy_threads", "load"]

BUSY_PROBES = 200
LOADED_PROBES = 30
CLIENTS = 256
SPINNERS = 4
PLATFORM = 2.0
"""Seconds that the platform waits for an answer: the ``timeoutSeconds`` of the manifests."""


def busy_threads() -> list[Figure]:
    """Ask a side port while every thread is busy with requests of 2 s, and more wait."""
    answers = []
    with on_gthread("threads.py", SECONDS="2") as (server, side), all_busy(server):
        wait_until(lambda: saturated(get(side, "/healthz")), "all threads are busy")
        for _ in range(BUSY_PROBES):
            answers.append(get(side, "/healthz"))
            time.sleep(0.05)
    if {answer.status for answer in answers} != {200}:
        raise RuntimeError(f"busy threads are no deadlock: {answers}")
    said = sum(map(saturated, answers))
    if said < 0.9 * BUSY_PROBES:  # while a thread goes on to the next request, it is not
        raise RuntimeError(f"only {said} of {BUSY_PROBES} answers said that it is saturated")
    return [
        Figure(
            name="side port, all threads busy: worst of the answers",
            measured=max(answer.seconds for answer in answers),
            unit="s",
            target=0.05,
            how=f"gthread, {BUSY_PROBES} probes, all 200, {said} of them saturated; "
            f"median {median(answer.seconds for answer in answers) * 1000:.1f} ms",
        )
    ]


@contextmanager
def all_busy(server: Server) -> Iterator[None]:
    """Have twice as many requests under way as there are threads, until the block is left."""
    done = Event()

    def keep_asking() -> None:
        while not done.is_set():
            with suppress(OSError):
                get(server.port, "/slow", patience=PATIENCE)

    with ThreadPoolExecutor(2 * THREADS) as clients:
        for _ in range(2 * THREADS):
            clients.submit(keep_asking)
        try:
            yield
        finally:
            done.set()


def saturated(answer: Answer) -> bool:
    """Whether an answer says that all threads are busy."""
    return answer.message == "saturated: all threads are busy"


def load() -> list[Figure]:
    """Ask an overloaded server that others leave no CPU, on its side port and from outside."""
    side = lasting_port()
    environ = {"SIDE_PORT": str(side), "STUCK_AFTER": str(THRESHOLD), "PROBEKIT_SCOPE": "pod"}
    with ExitStack() as stack:
        runtime = stack.enter_context(tempfile.TemporaryDirectory())
        environ["PROBEKIT_RUNTIME_DIR"] = runtime
        server = stack.enter_context(on_uvicorn(SIDE / "blocked.py", **environ))
        beside = stack.enter_context(Beside(pod_environment(Path(runtime))))
        wait_until(lambda: beside_says(beside, "alive") != [], "it is alive")
        for _ in range(SPINNERS):
            spin(stack)
        ports = {"side port": side, "probekit alive --port": beside.port}
        answers, slowest = run(under_load(server.port, ports))
    if slowest < THRESHOLD:
        raise RuntimeError(f"{CLIENTS} clients are no load: none waited {THRESHOLD} s")
    return [
        Figure(
            name=f"{who}, busy but moving: probes that fail",
            measured=sum(answer.status != 200 for answer in found),
            unit=f"of {LOADED_PROBES}",
            target=0.0,
            how=f"{CLIENTS} connections of 20 ms of CPU, {SPINNERS} spinners; requests took up to "
            f"{slowest:.0f} s, probes {max(answer.seconds for answer in found):.2f} s",
        )
        for who, found in answers.items()
    ]


def spin(stack: ExitStack) -> None:
    """Use as much CPU as there is, until the block is left, and for a minute at most."""
    code = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    stack.callback(process.wait, PATIENCE)
    stack.callback(process.kill)


async def under_load(port: int, ports: dict[str, int]) -> tuple[dict[str, list[Answer]], float]:
    """Probe while all clients ask; return the answers, and the longest that a client waited."""
    answers: dict[str, list[Answer]] = {who: [] for who in ports}
    waited: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(ask_on(port, waited)) for _ in range(CLIENTS)]
        await until(lambda: len(waited) >= 10)
        for _ in range(LOADED_PROBES):
            for who, where in ports.items():
                answers[who].append(await asyncio.to_thread(probe, where))
            await asyncio.sleep(0.5)
        for client in clients:
            client.cancel()
    return answers, max(waited)


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what the clients come to is seen by asking
            await asyncio.sleep(0.05)


async def ask_on(port: int, waited: list[float]) -> None:
    """Ask for work until cancelled, and note how long each answer took."""
    connection = await Connection.open(port)
    try:
        while True:
            began = time.monotonic()
            await connection.get("/work")
            waited.append(time.monotonic() - began)
    finally:
        connection.abort()


def probe(port: int) -> Answer:
    """Ask as the platform does; status 0 if nothing came in time."""
    began = time.monotonic()
    try:
        return get(port, "/healthz", patience=PLATFORM)
    except OSError as error:
        return Answer(0, {}, str(error).encode(), time.monotonic() - began)
