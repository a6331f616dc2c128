"""The probe beside a real server with two workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._alive.judge import Judgement, judge
from tests.e2e.clients import Connection, get
from tests.e2e.servers import serve
from tests.pod._workers import pod_environment, say
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

APP = Path(__file__).parent / "_service.py"
LATE = 1.0 + 0.5 + 3.0
"""Seconds: the threshold, what the probe adds, and what a busy machine may."""


class Pod:
    """A server of two workers and the probe beside it."""

    def __init__(self, server: Server, runtime: Path) -> None:
        self.server = server
        self.environment = pod_environment(runtime)
        self.clients = ExitStack()

    def judged(self) -> Judgement:
        """Judge it."""
        return judge(self.environment)

    def alive(self) -> bool:
        """Whether both workers are alive."""
        judgement = self.judged()
        return judgement.alive and len(judgement.workers) == 2

    def stuck(self, cause: str) -> list[int]:
        """Return the workers that are stuck for this cause."""
        end = f" s, of 1 s allowed: {cause}"
        verdicts = self.judged().workers
        return [each.pid for each in verdicts if each.state == "stuck" and each.text.endswith(end)]

    def noticed(self, cause: str) -> int:
        """Return which worker is stuck for this cause; it must be said in time."""
        began = time.monotonic()
        found: list[int] = []  # of one and the same look: the next may see another cause

        def look() -> bool:
            found[:] = self.stuck(cause)
            return bool(found)

        wait_until(look, f"{cause} is noticed")
        seconds = time.monotonic() - began
        say(f"{cause}: said so after {seconds:.2f} s")
        assert seconds < LATE
        [pid] = found
        return pid

    def ask(self, path: str) -> None:
        """Ask for something, and do not wait for the answer."""
        client = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        self.clients.enter_context(client)
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    def command(self) -> subprocess.CompletedProcess[str]:
        """Run what the platform runs."""
        command = [sys.executable, "-m", "probekit", "alive", "--pod"]
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )


@contextmanager
def running(runtime: Path) -> Iterator[Pod]:
    """Run a server; it is killed, since it cannot end by itself while a worker holds its GIL."""
    # The server's own ping must not be faster than the test, however slow the machine is.
    options = ["--workers", "2", "--timeout-worker-healthcheck", "60"]
    with serve(
        APP,
        "uvicorn-asyncio",
        *options,
        measured=False,
        PROBEKIT_SCOPE="pod",
        PROBEKIT_RUNTIME_DIR=str(runtime),
    ) as server:
        try:
            pod = Pod(server, runtime)
            with pod.clients:
                wait_until(pod.alive, "both workers are alive")
                yield pod
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.mark.timeout(90)
def test_what_a_worker_cannot_say_itself_is_said_for_it(runtime: Path) -> None:
    """It stands still as a whole, and the probe names it, the cause, and when it is over."""
    with running(runtime) as pod:
        assert pod.command().returncode == 0
        [frozen, other] = [each.pid for each in pod.judged().workers]

        os.kill(frozen, signal.SIGSTOP)
        assert pod.noticed("stopped") == frozen
        done = pod.command()
        assert (done.returncode, done.stderr) == (1, "")
        assert f"worker {other} of app: alive, said so " in done.stdout
        assert f"\nnot alive: 1 of 2 workers stuck: worker {frozen} of app: stuck, " in done.stdout
        os.kill(frozen, signal.SIGCONT)
        wait_until(pod.alive, "it goes on")

        pod.ask("/call")
        one = pod.noticed("blocked, GIL held")
        pod.ask("/regex")  # who is stuck takes no more connections
        assert {one, pod.noticed("cpu-bound, GIL held")} == {frozen, other}


CLIENTS = 64
SPINNERS = 2
SECONDS = 4.0


@pytest.mark.timeout(60)
def test_a_busy_server_is_not_stuck(runtime: Path) -> None:
    """20 ms of CPU per request, more clients than it can serve, and others who want the CPUs."""
    with running(runtime) as pod, ExitStack() as ending:
        for _ in range(SPINNERS):
            spinner = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
            ending.callback(spinner.wait, PATIENCE)
            ending.callback(spinner.kill)
        judgements = asyncio.run(under_load(pod))
        assert len(judgements) > 2
        assert [each.message for each in judgements if not each.alive] == []
        assert get(pod.server.port, "/").status == 200


async def under_load(pod: Pod) -> list[Judgement]:
    """Judge a pod again and again while clients ask it for more than it can do."""
    judgements = []
    async with asyncio.TaskGroup() as tasks:
        clients = [tasks.create_task(asking(pod.server.port)) for _ in range(CLIENTS)]
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            judgements.append(await asyncio.to_thread(pod.judged))
            await asyncio.sleep(0.2)
        for client in clients:
            client.cancel()
    return judgements


async def asking(port: int) -> None:
    """Ask for work until cancelled."""
    connection = await Connection.open(port)
    try:
        while True:
            await connection.get("/work")
    finally:
        connection.abort()
