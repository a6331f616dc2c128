"""gunicorn with gevent's greenlets in the place of threads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import Answer, get, request, volley
from tests.waiting import free_port, wait_until

from ._servers import APPS, DELAY, SERVERS, serve, workers

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("gevent", reason="get it with: pip install gevent")

pytestmark = pytest.mark.timeout(60)


def test_checks_run_at_the_same_time() -> None:
    """Checks are greenlets, and take as long as the slowest."""
    with serve("gunicorn-gevent") as server:
        get(server.port, "/healthz")
        answers = [get(server.port, "/readyz") for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        assert min(answer.seconds for answer in answers) < 0.55
        assert get(server.port, "/pool").json()["threads"] is None  # as many as come


@pytest.mark.parametrize("hang", ["sync", "async"])
def test_a_hung_check_holds_up_nothing(hang: str) -> None:
    """A check that waits as gevent wants it is answered for in time."""
    with serve("gunicorn-gevent", HANG=hang) as server:
        answer = get(server.port, "/readyz")
        assert (answer.status, answer.seconds < 3.5) == (503, True)
        assert get(server.port, "/").status == 200
        assert server.stop() < 8.0


def test_one_post_reaches_every_worker(tmp_path: Path) -> None:
    """Greenlets hide from nobody which server a worker belongs to."""
    environment: dict[str, Any] = {
        "PROBEKIT_SCOPE": "pod",
        "PROBEKIT_RUNTIME_DIR": str(tmp_path),
        "QUICK": "yes",
    }
    with serve("gunicorn-gevent", WEB_CONCURRENCY="4", **environment) as server:
        wait_until(lambda: len(workers(server)) == 4, "four workers run")
        assert request(server.port, "POST", "/admin/drain").status == 202
        answers = volley(server.port, "/readyz", count=100, at_a_time=4)
        assert {answer.status for answer in answers} == {503}


def test_sigterm_loses_nothing() -> None:
    """The signal is taken over by whichever greenlet answers first, and handed over after."""
    with serve("gunicorn-gevent") as server:
        assert get(server.port, "/admin/drain").json()["sigterm"] == "armed"
        answers: list[Answer] = []
        client = threading.Thread(
            target=lambda: answers.append(get(server.port, f"/slow?for={DELAY + 0.8}"))
        )
        client.start()
        time.sleep(0.2)  # that it is being served
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        wait_until(lambda: get(server.port, "/readyz").status == 503, "readiness fails", patience=1)
        served = get(server.port, "/")
        assert (served.status, served.headers["connection"]) == (200, "close")
        client.join()
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"late")]
        assert server.wait() == 0
        assert time.monotonic() - signalled >= DELAY


def test_a_side_port_is_refused() -> None:
    """The server does not start, and the message says what to do instead."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(APPS), *sys.path])}
    command = [sys.executable, "-m", *SERVERS["gunicorn-gevent"]("shop", free_port())]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=environ | {"SIDE_PORT": "9000"}
    )
    assert done.returncode != 0
    assert re.search("side_port 9000 cannot work under gevent: .*`probekit alive`", done.stderr)


def test_a_side_port_that_is_refused_in_the_log_holds_up_no_request() -> None:
    """Where the application was loaded before the fork it serves all the same, and checks run."""
    with serve("gunicorn-gevent-preload", SIDE_PORT=str(free_port()), QUICK="yes") as server:
        answers = [get(server.port, path) for path in ("/healthz", "/readyz", "/", "/readyz")]
        assert [answer.status for answer in answers] == [200] * 4
        # Two loops in one thread broke each other, and a question waits 2 s for one that is broken.
        assert min(answer.seconds for answer in answers) < 1.0
        assert "nobody answers on the side port: side_port " in server.log()
        assert server.log().count("cannot work under gevent") == 1
