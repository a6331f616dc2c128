"""Real servers whose event loop is held in every way, and those that are merely busy."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.e2e.clients import get, volley
from tests.e2e.servers import Server, serve
from tests.waiting import free_port, wait_until

APP = Path(__file__).with_name("_app.py")

PATIENCE = 20.0

NOTICED = " has been stuck for "
OVER = " moves again, after "

CAUSES = {
    "sleep": "blocked in a call at tests/holding.py:",
    "compute": "computing at tests/holding.py:",
    "acquire": "blocked in a call at tests/holding.py:",
    "receive": "blocked in a call at tests/holding.py:",
}


def settle(server: Server, stalls: int) -> None:
    """Return when so many stalls have been told of, and are over."""
    wait_until(lambda: server.log().count(OVER) == stalls, "it is over")
    assert server.log().count(NOTICED) == stalls


def holds_are_found(server: Server) -> None:
    """Hold the loop in a request in each way, and in a check: it is noticed in time, and named."""
    for number, (how, cause) in enumerate(CAUSES.items()):
        answer = get(server.port, f"/hold/{how}", patience=PATIENCE).json()
        assert cause in answer["stall"], answer
        assert answer["seconds"] > 0.8
        if how != "compute":  # a machine that is busy with others lets nobody compute
            assert answer["seconds"] < 3.5
        settle(server, number + 1)
    answer = get(server.port, "/readyz", patience=PATIENCE).json()
    found = answer["checks"]["heedless"]["detail"]["found"]
    assert "(check 'heedless')" in found
    assert "blocked in a call at tests/holding.py:" in found
    settle(server, len(CAUSES) + 1)


def busy_is_not_stuck(server: Server) -> None:
    """More work than the loop gets done in the threshold, beside two others who want the CPU."""
    before = server.log().count(NOTICED)
    spinner = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    with ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", spinner]))
            stack.callback(process.kill)
        answers = volley(server.port, "/work", count=128, at_a_time=64)
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) > 1.0
    assert server.log().count(NOTICED) == before


@pytest.mark.timeout(90)
@pytest.mark.parametrize("on", ["uvicorn-asyncio", "uvicorn-uvloop", "hypercorn-trio"])
def test_a_loop_that_is_held_is_found_and_one_that_is_busy_is_not(on: str) -> None:
    """File, line and cause of a request or a check; and no word of a loop that has much to do."""
    with serve(APP, on) as server:
        holds_are_found(server)
        if on == "uvicorn-asyncio":
            busy_is_not_stuck(server)


@pytest.mark.timeout(60)
def test_threads_are_found_when_all_are_held_and_not_when_they_work() -> None:
    """Of a WSGI server with two: work that goes on and bytes that flow are no stall."""
    port = free_port()
    address = f"--listen=127.0.0.1:{port}"
    command = [sys.executable, "-m", "waitress", address, "--threads=2", "_wsgi:app"]
    path = os.pathsep.join(filter(None, [str(APP.parent), os.environ.get("PYTHONPATH")]))
    with Server(command, port=port, PYTHONPATH=path) as server:
        answers = volley(port, "/work", count=16, at_a_time=4)
        assert {answer.body for answer in answers} == {b"None"}
        answers = volley(port, "/stream", count=2, at_a_time=2)
        assert [answer.body for answer in answers] == [b"None " * 30] * 2
        assert NOTICED not in server.log()
        answers = volley(port, "/hold", count=2, at_a_time=2)
        assert all(b"all 2 threads are busy" in answer.body for answer in answers)
        wait_until(lambda: OVER in server.log(), "it is over")
        assert server.log().count(NOTICED) == 1


def pids(server: Server) -> set[int]:
    """Return the workers that answer; none while nobody does."""
    with suppress(OSError, ValueError):
        shown = get(server.port, "/admin/drain", patience=2.0).json()
        return {worker["pid"] for worker in shown["workers"]}
    return set()


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("on", "options"),
    [
        ("uvicorn-asyncio", ["--workers", "2"]),
        ("gunicorn-uvicorn", ["--workers", "2", "--timeout", "60"]),
        ("granian-asyncio", ["--workers", "2", "--respawn-failed-workers"]),
    ],
    ids=["uvicorn", "gunicorn", "granian"],
)
def test_a_worker_that_is_stuck_is_replaced_so_often_and_no_more(
    on: str, options: list[str], tmp_path: Path
) -> None:
    """It ends itself, the server starts another; the next one that is stuck stays, and says why."""
    release = tmp_path / "release"
    environ: Any = {
        "EXIT": "1",
        "RELEASE": str(release),
        "PROBEKIT_SCOPE": "pod",
        "PROBEKIT_RUNTIME_DIR": str(tmp_path),
    }

    def hang() -> None:
        with suppress(OSError, ValueError):
            get(server.port, "/hang", patience=PATIENCE)

    with serve(APP, on, *options, **environ) as server:
        wait_until(lambda: len(pids(server)) == 2, "both workers are there")
        before = pids(server)
        hung = [Thread(target=hang, daemon=True) for _ in range(2)]
        hung[0].start()
        wait_until(lambda: "ends (status 70)" in server.log(), "one ends itself")
        wait_until(lambda: len(now := pids(server)) == 2 and now != before, "another is there")
        hung[1].start()
        wait_until(lambda: " stays, since " in server.log(), "the next one stays")
        assert "have ended themselves 1 times in an hour, and exits_per_hour=1" in server.log()
        assert server.log().count("ends (status 70)") == 1
        release.touch()
        for thread in hung:
            thread.join(PATIENCE)


@pytest.mark.timeout(60)
def test_several_workers_of_hypercorn_do_not_start() -> None:
    """The end of one would be the end of all, so that it is refused, with what to do."""
    server = serve(APP, "hypercorn-asyncio", "--workers", "2", EXIT="1")
    try:
        with server:  # it may take connections for a moment before the workers fail
            server.wait()
            log = server.log()
    except RuntimeError as ended:
        log = str(ended)
    assert "on_stuck='exit' cannot work here: hypercorn ends all its 2 workers when one" in log
    assert "leave it at 'report'" in log
