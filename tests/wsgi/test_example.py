"""The booking service of examples/flask_app: gunicorn with two workers, SQLite in a directory."""

from __future__ import annotations

import json
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.clients import Answer, get, request, volley
from tests.e2e.servers import Server
from tests.waiting import free_port, wait_until

from ._servers import running, workers

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/flask_app"
SEAT = json.dumps({"seat": "7B"}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the service is told."""
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'bookings.db'}",
        "CONFIRMATION_SECONDS": "0",
        "PROBEKIT_DRAIN_DELAY": "1",
        "PROBEKIT_RUNTIME_DIR": str(tmp_path),
        "PROBEKIT_SCOPE": "pod",
    }


@pytest.fixture
def serve(environment: dict[str, str]) -> Callable[..., Server]:
    """Make the service with further variables."""

    def make(**more: str) -> Server:
        port = free_port()
        command = ["gunicorn", "-c", str(EXAMPLE / "gunicorn.conf.py"), "--no-control-socket"]
        told = environment | {"PORT": str(port)} | more
        return Server([sys.executable, "-m", *command], port=port, measured=True, **told)

    return make


@pytest.fixture
def migrated(environment: dict[str, str]) -> None:
    """Make the tables, as the job does."""
    migrate(environment)


def migrate(environment: dict[str, str]) -> None:
    """Run the job that makes the tables."""
    command = [sys.executable, "-m", "examples.flask_app.storage"]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True, timeout=30)


def ready(server: Server) -> bool:
    """Whether a worker takes work."""
    return get(server.port, "/readyz").status == 200


@pytest.fixture
def service(serve: Callable[..., Server], migrated: None) -> Server:
    """The service on its tables, not yet started."""
    return serve()


def test_it_waits_for_its_tables(serve: Callable[..., Server], environment: dict[str, str]) -> None:
    """It is alive and says what it waits for, until the job has run."""
    with serve() as server:
        answer = get(server.port, "/readyz")
        assert answer.status == 503
        assert answer.json()["message"] == "startup has not passed: tables"
        waiting = get(server.port, "/startupz").json()["checks"]["tables"]["message"]
        assert waiting.startswith("the tables are not there yet")
        assert get(server.port, "/healthz").status == 200
        migrate(environment)
        wait_until(lambda: ready(server), "it takes work")


def test_every_worker_stands_by_before_its_first_request(service: Server) -> None:
    """Each has asked itself, so each is in the table and drains when SIGTERM comes."""
    with service as server:
        wait_until(lambda: len(workers(server)) == 2, "two workers run")

        def state() -> Any:
            return get(server.port, "/admin/drain").json()

        wait_until(lambda: len(state()["workers"]) == 2, "both are in the table")
        assert {state()["sigterm"] for _ in range(10)} == {"armed"}
        assert state()["in_flight"]["requests"] == 0


def test_customers_book_and_confirm(service: Server) -> None:
    """A booking is made, found and confirmed; what makes no sense is refused."""
    with service as server:
        booked = request(server.port, "POST", "/bookings", body=SEAT, headers=JSON)
        assert (booked.status, booked.json()) == (201, {"id": 1, "seat": "7B", "status": "new"})
        assert request(server.port, "POST", "/bookings/1/confirmation").status == 200
        assert get(server.port, "/bookings/1").json()["status"] == "confirmed"
        assert get(server.port, "/bookings/2").status == 404
        assert request(server.port, "POST", "/bookings/2/confirmation").status == 404
        for body in (b'{"seat": ""}', b"{}", b"no JSON"):
            refused = request(server.port, "POST", "/bookings", body=body, headers=JSON)
            assert refused.status == 422
        wait_until(lambda: waiting(server) == 0, "the count is there")


def waiting(server: Server) -> int | None:
    """Return what the background check has counted, or None."""
    detail = get(server.port, "/readyz").json()["checks"]["unconfirmed"].get("detail", {})
    number: int | None = detail.get("waiting")
    return number


def test_no_prober_needs_the_token(serve: Callable[..., Server], migrated: None) -> None:
    """Customers do."""
    with serve(API_TOKEN="open sesame") as server:
        assert ready(server)
        assert get(server.port, "/bookings/1").status == 401
        known = request(server.port, "GET", "/bookings/1", headers={"X-Token": "open sesame"})
        assert known.status == 404


def test_a_locked_database_fails_readiness_and_nothing_else(
    service: Server, tmp_path: Path
) -> None:
    """It is named, liveness stays, and it recovers by itself."""
    with service as server:
        assert ready(server)
        with closing(sqlite3.connect(tmp_path / "bookings.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            wait_until(lambda: "timed out after 0.8 s" in complaint(server), "readiness fails")
            assert get(server.port, "/healthz").status == 200
        wait_until(lambda: ready(server), "it recovers")


def complaint(server: Server) -> str:
    """Return what a worker says of the database."""
    message: str = get(server.port, "/readyz").json()["checks"]["database"].get("message", "")
    return message


def test_one_post_drains_both_workers(service: Server) -> None:
    """And one DELETE takes it back."""
    with service as server:
        wait_until(lambda: ready(server), "it takes work")
        assert request(server.port, "POST", "/admin/drain").status == 202
        answers = volley(server.port, "/readyz", count=50, at_a_time=5)
        assert {answer.status for answer in answers} == {503}
        assert request(server.port, "POST", "/bookings", body=SEAT, headers=JSON).status == 201
        assert request(server.port, "DELETE", "/admin/drain").status == 200
        assert ready(server)


def test_sigterm_loses_nothing(serve: Callable[..., Server], migrated: None) -> None:
    """Readiness fails at once, bookings go on, a confirmation under way ends, and so does it."""
    with serve(CONFIRMATION_SECONDS="2") as server:
        assert request(server.port, "POST", "/bookings", body=SEAT, headers=JSON).status == 201
        answers: list[Answer] = []
        client = threading.Thread(
            target=lambda: answers.append(
                request(server.port, "POST", "/bookings/1/confirmation", patience=20)
            )
        )
        client.start()
        time.sleep(0.3)  # that it is being served
        before = workers(server)
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        wait_until(lambda: not ready(server), "readiness fails", patience=0.8)
        booked = request(server.port, "POST", "/bookings", body=SEAT, headers=JSON)
        assert (booked.status, booked.headers["connection"]) == (201, "close")
        assert request(server.port, "DELETE", "/admin/drain").status == 409
        client.join()
        assert [(answer.status, answer.json()["status"]) for answer in answers] == [
            (200, "confirmed")
        ]
        assert server.wait() == 0
        assert time.monotonic() - signalled >= 1
        assert not any(running(pid) for pid in before)


def test_a_long_confirmation_is_not_all_that_a_worker_can_do(
    serve: Callable[..., Server], migrated: None
) -> None:
    """The side port tells four busy threads from one, though each worker began by itself."""
    side = free_port()
    more = {"WEB_CONCURRENCY": "1", "CONFIRMATION_SECONDS": "6", "SIDE_PORT": str(side)}

    def health() -> str:
        answer = get(side, "/healthz")
        assert answer.status == 200
        message: str = answer.json().get("message", "")
        return message

    with serve(**more) as server, ThreadPoolExecutor(4) as clients:
        booked = request(server.port, "POST", "/bookings", body=SEAT, headers=JSON)
        assert booked.status == 201

        def confirm() -> int:
            return request(server.port, "POST", "/bookings/1/confirmation", patience=30).status

        def are_in_flight(number: int) -> bool:
            flying: int = get(side, "/admin/drain").json()["in_flight"]["requests"]
            return flying == number

        for busy in range(1, 5):
            clients.submit(confirm)
            wait_until(partial(are_in_flight, busy), f"{busy} are under way")
            if busy < 4:
                assert health() == ""
        wait_until(lambda: health() == "saturated: all threads are busy", "all are busy")


def test_the_numbers_of_the_manifest_hang_together() -> None:
    """Drain and longest request fit gunicorn's limit, that fits the kubelet's; none is stuck."""
    text = (EXAMPLE / "kubernetes.yaml").read_text(encoding="utf-8")
    (deployment,) = [part for part in yaml.safe_load_all(text) if part["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    gunicorn = runpy.run_path(str(EXAMPLE / "gunicorn.conf.py"))
    longest: float = import_module("examples.flask_app.app").LONGEST_REQUEST
    delay = next(
        float(each["value"]) for each in container["env"] if each["name"] == "PROBEKIT_DRAIN_DELAY"
    )
    assert delay >= 5
    assert gunicorn["graceful_timeout"] >= delay + longest + 1
    assert pod["terminationGracePeriodSeconds"] >= gunicorn["graceful_timeout"] + 2
    assert gunicorn["keepalive"] > 60
    assert gunicorn["threads"] > 1
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["timeoutSeconds"] >= 2
    stuck_after = import_module("examples.flask_app.health").probes.service.policy.stuck_after
    assert stuck_after >= longest + 5
    ports = {each["name"]: str(each["containerPort"]) for each in container["ports"]}
    assert container["livenessProbe"]["httpGet"]["port"] == "side"
    assert {"name": "SIDE_PORT", "value": ports["side"]} in container["env"]
    assert ROOT / container["command"][-1] == EXAMPLE / "gunicorn.conf.py"
