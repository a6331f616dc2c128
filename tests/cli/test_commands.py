"""The commands against a real service."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import get
from tests.e2e.servers import serve
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

    from .conftest import Run

APP = Path(__file__).parent / "_app.py"
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve the application."""
    with serve(APP) as server:
        yield server


@pytest.fixture
def service(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Let the command ask the application, and put that back into service."""
    monkeypatch.setenv("PROBEKIT_URL", f"http://127.0.0.1:{server.port}")
    yield server
    assert run("undrain").code == 0


def ready(server: Server) -> bool:
    """Return whether the service wants traffic."""
    return get(server.port, "/readyz").status == 200


def in_flight(run: Run) -> int:
    """Return how many requests are."""
    requests: int = json.loads(run("status", "--json").out)["in_flight"]["requests"]
    return requests


def test_drain_and_back(service: Server, run: Run) -> None:
    """A drain takes the service out of traffic, the end of the drain puts it back."""
    code, out, err = run("drain", "--reason", "deploy 42", "--by", "anna", "--lease", "600")
    assert (code, err) == (0, "")
    assert out.startswith("draining for 0 s\n  reason: deploy 42\n  by: anna\n  since: 2")
    assert "  lease: 9 min 59 s left, until 2" in out or "  lease: 10 min 0 s left, until 2" in out
    assert "  in flight: requests 0, websockets 0, jobs 0\n" in out
    assert not ready(service)
    code, out, err = run("undrain")
    assert (code, err) == (0, "")
    assert out.startswith("serving\n  in flight: requests 0, websockets 0, jobs 0\n")
    assert ready(service)


def test_status(service: Server, run: Run) -> None:
    """The exit code says whether the service drains, for scripts."""
    assert run("status").code == 0
    run("drain")
    code, out, _ = run("status")
    assert code == 1
    assert out.startswith("draining for 0 s\n")
    assert "lease" not in out
    assert "  sigterm: off: drain_delay is 0 (argument drain_delay)\n" in out


def test_json(service: Server, run: Run) -> None:
    """What the service answers can be had as it came."""
    assert json.loads(run("drain", "--json", "--by", "anna").out)["draining"]["by"] == "anna"
    assert run("status", "--json").out == get(service.port, "/admin/drain").body.decode()
    waited = run("drain", "--json", "--wait", "--delay", "0").out
    assert json.loads(waited)["in_flight"] == {"requests": 0, "websockets": 0, "jobs": 0}
    assert json.loads(run("undrain", "--json").out)["draining"] is None


def test_who_drains_is_known(service: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --by it is the user and the host; without a sensible user, the command; or nobody."""
    monkeypatch.setenv("LOGNAME", "anna")
    assert "  by: anna@" in run("drain").out
    assert "  by: " not in run("drain", "--by", "").out
    monkeypatch.setenv("LOGNAME", "a\nb")
    assert "  by: probekit drain\n" in run("drain").out


def test_a_user_without_a_name_may_drain(
    service: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the user id often stands in no list of users."""
    pwd = pytest.importorskip("pwd")
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert "  by: probekit drain\n" in run("drain").out


def test_a_reason_that_the_service_refuses(service: Server, run: Run) -> None:
    """What the service says is wrong is passed on."""
    code, out, err = run("drain", "--reason", "x" * 201)
    assert (code, out) == (1, "")
    assert "answered 400: drain: reason must be one line of at most 200" in err
    assert err.count("\n") == 1


def test_wait_until_the_request_is_answered(service: Server, run: Run) -> None:
    """With --wait, the command returns when the last response is complete, and not before."""
    request = threading.Thread(target=get, args=(service.port, "/slow"))
    request.start()
    wait_until(lambda: in_flight(run) == 1, "the request is in flight")
    code, out, err = run("drain", "--wait", "--delay", "0", "--wait-timeout", "0.5")
    assert (code, out) == (1, "")
    assert "not done after 0.5 s (--wait-timeout)" in err
    releasing = threading.Timer(0.5, get, args=(service.port, "/release"))
    releasing.start()
    code, out, err = run("drain", "--wait", "--delay", "0")
    assert code == 0
    assert out.startswith("drained: the traffic has gone, after ")
    assert err.startswith("probekit drain: after 0.0 s: ")
    request.join()
    releasing.join()


def test_the_prefix_of_a_mount_belongs_to_the_url(run: Run) -> None:
    """The URL carries the prefix; with or without the rest of the path."""
    with serve(APP, PREFIX="/internal") as server:
        url = f"http://localhost:{server.port}/internal"
        for given in (url, f"{url}/", f"{url}/admin/drain"):
            assert run("status", "--url", given).code == 0
        code, _, err = run("status", "--url", f"http://localhost:{server.port}")
        assert code == 2
        assert "there is no /admin/drain at http://localhost:" in err
        assert "give the prefix" in err


def test_token(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token of the environment or of a file is presented; a wrong one is refused."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with serve(APP, TOKEN=TOKEN) as server:
        monkeypatch.setenv("PROBEKIT_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("PROBEKIT_ADMIN_TOKEN", TOKEN)
        assert run("status").code == 0
        monkeypatch.setenv("PROBEKIT_ADMIN_TOKEN", "wrong")
        code, _, err = run("drain")
        assert code == 1
        assert "answered 401: the token is not the right one; is the token of" in err
        assert run("status", "--token-file", str(file)).code == 0


def test_sigterm_began_the_drain(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that SIGTERM began is as good as one's own, but nobody ends it."""
    with serve(APP, DELAY="12") as server:
        monkeypatch.setenv("PROBEKIT_URL", f"http://127.0.0.1:{server.port}")
        server.signal(signal.SIGTERM)
        wait_until(lambda: run("status").code == 1, "the signal has come")
        assert run("status").out.startswith("draining for 0 s; the process is leaving\n")
        code, out, err = run("drain")
        assert (code, err) == (0, "")
        assert out == "SIGTERM began a drain already, and nothing changes it\n"
        assert json.loads(run("drain", "--json").out)["status"] == 409
        assert run("drain", "--wait", "--delay", "0").code == 0
        code, out, err = run("undrain")
        assert (code, out) == (1, "")
        assert "answered 409: the drain cannot be ended: SIGTERM began it" in err
        server.signal(signal.SIGINT)  # a second SIGTERM so soon is the first one again
        server.wait()
