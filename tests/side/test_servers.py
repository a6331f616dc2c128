"""Side ports of real servers, whose loops stand still and whose threads are all busy."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import get, request
from tests.e2e.servers import Server, lasting_port
from tests.waiting import PATIENCE, wait_until

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable

APPS = Path(__file__).parent / "apps"
AT_ONCE = 2.0
"""Seconds within which an answer is one that no blocked loop has held up."""


def serve(*command: str, side: int, port: int | None = None, runtime: Path | None = None) -> Server:
    """Return a server, not yet started, with such a command line after ``python -m``."""
    port = port or lasting_port()
    paths = os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")]))
    environ = {"PYTHONPATH": paths, "SIDE_PORT": str(side), "PYTHONUNBUFFERED": "1"}
    if runtime is not None:
        environ |= {"PROBEKIT_SCOPE": "pod", "PROBEKIT_RUNTIME_DIR": str(runtime)}
    line = [sys.executable, "-m", *(part.format(port=port) for part in command)]
    return Server(line, port=port, measured=True, **environ)


def timed(port: int, path: str) -> tuple[int, float]:
    """Return the status of an answer, and how long it took."""
    began = time.monotonic()
    status = ask(port, path).status
    return status, time.monotonic() - began


def in_background(function: Callable[[], object]) -> threading.Thread:
    """Do something meanwhile, come what may of it."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


STRANGER = "which is of another server of this user"
UVICORN = ("uvicorn", "blocked:app", "--port", "{port}", "--no-access-log")
PLAIN = ("gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket")
GUNICORN = (*PLAIN, "-k", "gthread")
SYNC = (*PLAIN, "-k", "sync")
GRANIAN = ("granian", "--interface", "asgi", "--port", "{port}", "--respawn-failed-workers")
SHARED = {
    "uvicorn": (*UVICORN, "--workers", "2"),
    "gunicorn": (*GUNICORN, "-w", "2", "--threads", "2", "threads:app"),
    "gunicorn-preload": (*GUNICORN, "-w", "2", "--threads", "2", "--preload", "threads:app"),
    "gunicorn-sync": (*SYNC, "-w", "2", "threads:app"),
    "granian": (*GRANIAN, "--workers", "2", "blocked:app"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}", "-w", "2", f"{APPS}/blocked.py:app"),
}
"""Servers with two workers each."""


@pytest.mark.timeout(60)
def test_a_blocked_loop_holds_up_no_probe_and_a_busy_one_is_alive() -> None:
    """Liveness answers all the while, readiness says what is the matter, and load is no matter."""
    side = lasting_port()
    with serve(*UVICORN, side=side) as server:
        wait_until(lambda: timed(side, "/readyz")[0] == 200, "it is ready")
        blocking = in_background(lambda: get(server.port, "/block"))
        wait_until(lambda: ask(side, "/readyz").status == 503, "its loop stands still")
        message = ask(side, "/readyz").message
        assert message is not None
        assert message.startswith("the event loop has stood still for ")
        while blocking.is_alive():
            status, seconds = timed(side, "/healthz")
            assert status == 200
            assert seconds < AT_ONCE
            time.sleep(0.1)
        wait_until(lambda: timed(side, "/readyz")[0] == 200, "it is ready again")
        with ThreadPoolExecutor(16) as threads:
            for _ in range(50):
                threads.submit(get, server.port, "/work")
            for _ in range(20):
                status, seconds = timed(side, "/healthz")
                assert status == 200
                assert seconds < AT_ONCE
        taken = serve(*UVICORN, side=side)
        with pytest.raises(RuntimeError, match=f"side_port {side} on '127.0.0.1' is taken"):
            taken.__enter__()
        assert server.stop() < PATIENCE
    with pytest.raises(ConnectionRefusedError):
        ask(side, "/healthz")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_busy_threads_hold_up_no_probe(preload: bool) -> None:
    """The side port answers when all threads are busy, and no child of a worker's has it open."""
    side = lasting_port()
    options = ["-w", "1", "--threads", "4", *(["--preload"] if preload else []), "threads:app"]
    with serve(*GUNICORN, *options, side=side) as server:
        wait_until(lambda: listens(side), "it listens before any request")
        assert timed(side, "/readyz")[0] == 200
        assert get(server.port, "/fork").status == 200
        with ThreadPoolExecutor(8) as threads:
            busy = [threads.submit(get, server.port, "/slow") for _ in range(8)]
            saturated = "saturated: all threads are busy"
            wait_until(lambda: ask(side, "/healthz").message == saturated, "all are busy")
            while not all(each.done() for each in busy):
                for path in ("/healthz", "/readyz"):
                    status, seconds = timed(side, path)
                    assert status == 200
                    assert seconds < AT_ONCE
                time.sleep(0.2)
        server.stop()
        wait_until(lambda: not listens(side), "nobody has it open")
        os.killpg(server.pid, signal.SIGKILL)  # the child that was forked


@pytest.mark.timeout(60)
def test_a_child_that_a_sync_worker_forks_answers_nobody() -> None:
    """It is forked where requests are handled: on the main thread, inside what made the worker."""
    side = lasting_port()
    with serve(*SYNC, "-w", "1", "--preload", "threads:app", side=side) as server:
        wait_until(lambda: listens(side), "the worker listens")
        assert get(server.port, "/fork").status == 200
        server.stop()
        wait_until(lambda: not listens(side), "nobody has it open")
        os.killpg(server.pid, signal.SIGKILL)  # the child that was forked


@pytest.mark.timeout(60)
@pytest.mark.parametrize("on", SHARED)
def test_workers_share_one_side_port(on: str, tmp_path: Path) -> None:
    """Whichever is asked answers for the pod, also when one of them is replaced."""
    side, command = lasting_port(), SHARED[on]
    with serve(*command, side=side, runtime=tmp_path) as server:

        def workers() -> set[int]:
            try:
                ask(side, "/healthz")  # a worker has a line from its first probe on
                shown = ask(side, "/admin/drain").json()["workers"]
            except OSError:  # not yet, or no more
                return set()
            return {worker["pid"] for worker in shown}

        wait_until(lambda: len(workers()) == 2, "both have been asked")
        first = workers()
        if on != "hypercorn":  # the whole server would end with it
            os.kill(min(first), signal.SIGKILL)
            wait_until(lambda: len(workers() - {min(first)}) == 2, "there is another")
        drain = request(side, "POST", "/admin/drain", body=b"")
        assert drain.status == 202

        def codes(path: str) -> set[int]:
            return {ask(side, path).status for _ in range(20)}

        wait_until(lambda: codes("/readyz") == {503}, "all drain")
        assert codes("/healthz") == {200}
        assert STRANGER not in server.log()
        if on == "granian":  # by itself it may lose a SIGTERM that comes as a worker starts
            assert server.stop() < PATIENCE
            return
        with serve(*command, side=side, runtime=tmp_path) as another:
            wait_until(lambda: another.log().count(STRANGER) == 2, "both see who else is there")
            assert f"side_port {side} is answered by process " in another.log()
            if on == "gunicorn-preload":  # a worker that handles no signals yet would lose SIGTERM
                handling: set[bytes] = set()

                def both_handle_requests() -> bool:
                    handling.add(get(another.port, "/pid").body)
                    return len(handling) == 2

                wait_until(both_handle_requests, "both have come to their loops")
            assert another.stop() < PATIENCE
        assert server.stop() < PATIENCE
