"""The door on real WSGI servers: probes in time, a drain that loses nothing, an end in order."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import Answer, get, request
from tests.waiting import wait_until

from ._servers import DELAY, running, serve, workers

if TYPE_CHECKING:
    from tests.e2e.servers import Server

pytestmark = pytest.mark.timeout(60)

EVERY = [
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-gthread-preload",
    "waitress",
    "werkzeug",
    "granian",
    "granian-2",
]
UNHANDLED = {"waitress", "werkzeug"}
"""Those that have no handler for SIGTERM."""
THREADED = [name for name in EVERY if name != "gunicorn-sync"]


def ask_in_background(port: int, path: str) -> tuple[threading.Thread, list[Answer]]:
    """GET ``path`` in a thread, and return that and where the answer will be."""
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(get(port, path)))
    client.start()
    return client, answers


def state(server: Server) -> Any:
    """Return what /admin/drain says."""
    return get(server.port, "/admin/drain").json()


@pytest.mark.parametrize("on", EVERY)
def test_checks_run_at_the_same_time(on: str) -> None:
    """Two checks of 0.3 s, one on a thread and one on the loop, take no 0.6 s."""
    with serve(on) as server:
        get(server.port, "/healthz")
        answers = [get(server.port, "/readyz") for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        assert min(answer.seconds for answer in answers) < 0.55
        assert set(answers[0].json()["checks"]) >= {"first", "second"}


@pytest.mark.parametrize("on", EVERY)
@pytest.mark.parametrize("hang", ["sync", "async"])
def test_a_hung_check_holds_up_nothing(on: str, hang: str) -> None:
    """Its probe fails in time, everything else is answered, and the process ends."""
    with serve(on, HANG=hang, PROBEKIT_DRAIN_DELAY="0") as server:
        answers = [get(server.port, "/readyz") for _ in range(3)]
        assert {answer.status for answer in answers} == {503}
        assert max(answer.seconds for answer in answers) < 0.5 + 3.0
        message = answers[-1].json()["checks"]["hung"]["message"]
        assert message.startswith("timed out after 0.5 s, still running for ")
        assert get(server.port, "/").status == 200
        assert get(server.port, "/healthz").status == 200
        names: list[str] = get(server.port, "/threads").json()
        assert names.count("probekit:hung") <= 1
        assert server.stop() < 8.0


@pytest.mark.parametrize("on", EVERY)
def test_sigterm_loses_nothing(on: str) -> None:
    """Readiness fails at once, all is served, what is in flight ends well, and so does it all."""
    with serve(on, measured=on not in UNHANDLED) as server:
        wait_until(lambda: armed(server), "SIGTERM is taken over in every worker")
        before = workers(server)
        client, late = ask_in_background(server.port, f"/slow?for={DELAY + 0.8}")
        time.sleep(0.2)  # that it is being served
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()

        wait_until(lambda: get(server.port, "/readyz").status == 503, "readiness fails", patience=1)
        assert get(server.port, "/healthz").status == 200
        served = get(server.port, "/")
        assert (served.status, served.headers["connection"].lower()) == (200, "close")
        assert time.monotonic() - signalled < DELAY

        client.join()
        assert [(answer.status, answer.body) for answer in late] == [(200, b"late")]
        assert server.wait() == 0
        assert time.monotonic() - signalled >= DELAY
        assert not any(running(pid) for pid in before)


def test_what_gunicorn_cuts_is_named_before() -> None:
    """Its master counts from its own SIGTERM, and its SIGKILL leaves the worker no last word."""
    with serve("gunicorn-gthread-limited", measured=False) as server:
        wait_until(lambda: armed(server), "SIGTERM is taken over")
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /slow?for=30 HTTP/1.1\r\nHost: shop\r\n\r\n")
            wait_until(lambda: state(server)["in_flight"]["requests"] == 1, "it is in flight")
            server.signal(signal.SIGTERM)
            signalled = time.monotonic()
            server.wait()
        assert 3.0 <= time.monotonic() - signalled < 3.0 + 5.0
        assert re.search(
            r"still in flight 1\.\d s after the hand-over, and gunicorn \(graceful_timeout: 3 s\) "
            r"cuts it: GET /slow for \d\.\d s",
            server.log(),
        )


def test_the_child_of_a_reloader_loses_nothing() -> None:
    """Whoever signals it alone, since its parent would kill it, finds it as patient as others."""
    with serve("werkzeug-reload", measured=False) as server:
        wait_until(lambda: armed(server), "SIGTERM is taken over")
        [child] = workers(server)
        client, late = ask_in_background(server.port, f"/slow?for={DELAY + 0.8}")
        time.sleep(0.2)  # that it is being served
        os.kill(child, signal.SIGTERM)
        client.join()
        assert [(answer.status, answer.body) for answer in late] == [(200, b"late")]
        assert server.wait() == 0
        assert "handing the signal to werkzeug's reloader" in server.log()


def armed(server: Server) -> bool:
    """Whether each worker has been asked and has taken SIGTERM over."""
    seen: dict[int, str] = {}
    for _ in range(20):
        answer = state(server)
        seen[answer["workers"][0]["pid"]] = answer["sigterm"]
    return len(seen) >= max(1, len(workers(server))) and set(seen.values()) == {"armed"}


def all_drain(server: Server) -> bool:
    """Whether each worker does, as far as asking often can tell."""
    return all(state(server)["draining"] is not None for _ in range(20))


@pytest.mark.parametrize("on", THREADED)
def test_a_connection_is_closed_in_a_drain(on: str) -> None:
    """A client that keeps its connection is told to come again, also by a request in flight."""
    with serve(on) as server:
        get(server.port, "/healthz")
        keeping = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        keeping.request("GET", "/")
        kept = keeping.getresponse()
        kept.read()
        closes = (kept.getheader("connection") or "").lower() == "close"
        assert closes == (on == "werkzeug")  # which closes every one
        client, late = ask_in_background(server.port, "/slow?for=0.5")
        time.sleep(0.2)  # that it is being served
        while not all_drain(server):
            assert request(server.port, "POST", "/admin/drain").status == 202

        keeping.request("GET", "/")
        told = keeping.getresponse()
        assert (told.status, (told.getheader("connection") or "").lower()) == (200, "close")
        told.read()
        keeping.close()
        client.join()
        assert late[0].headers["connection"].lower() == "close"
        assert request(server.port, "DELETE", "/admin/drain").status == 200


@pytest.mark.parametrize("on", ["gunicorn-gthread", "waitress", "werkzeug", "granian"])
def test_middleware_outside_hides_nothing(on: str) -> None:
    """With a start_response of somebody's own the connection is closed all the same."""
    with serve(on, WRAPPED="yes") as server:
        assert request(server.port, "POST", "/admin/drain").status == 202
        served = get(server.port, "/")
        assert served.headers["x-wrapped"] == "yes"
        assert served.headers["connection"].lower() == "close"
