"""One truth for all the workers of gunicorn: threads and forks, with and without ``--preload``."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.e2e.clients import get, request, volley
from tests.waiting import free_port, wait_until

from ._servers import running, serve, workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.servers import Server

pytestmark = pytest.mark.timeout(60)

COUNT = 4
"""Workers."""
SOON = 0.05
"""Seconds within which every worker knows."""


Pod: TypeAlias = "Callable[[], Server]"


@pytest.fixture(params=["gunicorn-gthread-4", "gunicorn-gthread-4-preload"])
def pod(request: pytest.FixtureRequest, tmp_path: Path) -> Pod:
    """Make a server of four workers, each of four threads; always on the same port."""
    port = free_port()
    environment: dict[str, Any] = {
        "QUICK": "yes",
        "PROBEKIT_SCOPE": "pod",
        "PROBEKIT_RUNTIME_DIR": str(tmp_path),
        "PROBEKIT_DRAIN_DELAY": "0",
    }
    return lambda: serve(request.param, port=port, **environment)


def drain(server: Server, **options: object) -> None:
    """Turn the switch, and give every worker the time that it may take."""
    body = json.dumps(options).encode()
    assert request(server.port, "POST", "/admin/drain", body=body).status == 202
    time.sleep(SOON)


def statuses(server: Server, *, count: int = 200) -> set[int]:
    """Return what so many probes get, each on a connection of its own."""
    answers = volley(server.port, "/readyz", count=count, at_a_time=8)
    return {answer.status for answer in answers}


def all_serve(server: Server) -> bool:
    """Whether each worker has answered, so that all of them are in the table."""
    try:
        get(server.port, "/readyz")
        table = get(server.port, "/admin/drain").json()["workers"]
    except ConnectionError:  # one that was just told to go had taken it
        return False
    return {line["pid"] for line in table} == set(workers(server)) and len(table) == COUNT


def test_one_post_reaches_every_worker(pod: Pod) -> None:
    """All say 503 after one POST, all say 200 after one DELETE, and a lease ends on all."""
    with pod() as server:
        wait_until(lambda: all_serve(server), "four workers serve")
        assert get(server.port, "/admin/drain").json()["scope"] == "pod"
        assert statuses(server) == {200}
        drain(server, reason="deploy")
        assert statuses(server) == {503}
        assert request(server.port, "DELETE", "/admin/drain").status == 200
        time.sleep(SOON)
        assert statuses(server) == {200}

        drain(server, lease=1.5)
        assert statuses(server, count=40) == {503}
        wait_until(lambda: get(server.port, "/readyz").status == 200, "the lease ends")
        time.sleep(SOON)
        assert statuses(server) == {200}


def test_a_new_worker_finds_the_switch(pod: Pod) -> None:
    """After kill -9 of one and after a reload of all, everybody still drains."""
    with pod() as server:
        wait_until(lambda: all_serve(server), "four workers serve")
        drain(server)
        killed = min(workers(server))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not running(killed) and all_serve(server), "another worker serves")
        assert statuses(server) == {503}

        before = set(workers(server))
        server.signal(signal.SIGHUP)
        wait_until(
            lambda: before.isdisjoint(workers(server)) and all_serve(server), "new workers serve"
        )
        assert statuses(server) == {503}


def test_a_new_server_is_not_drained(pod: Pod) -> None:
    """The switch ends with the server, however that ends."""
    with pod() as server:
        drain(server)
        assert statuses(server) == {503}
        before = workers(server)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        wait_until(lambda: not any(map(running, before)), "all of them are gone")
    with pod() as server:
        assert statuses(server) == {200}
