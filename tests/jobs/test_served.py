"""Jobs beside requests, in a real server; and the command that waits for them."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import environment, run
from tests.e2e.clients import get, request
from tests.e2e.servers import serve

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.e2e.servers import Server

__all__ = ["environment", "run"]

APP = Path(__file__).parent / "_app.py"


def jobs(server: Server) -> int:
    """Return how many are in flight."""
    count: int = get(server.port, "/admin/drain").json()["in_flight"]["jobs"]
    return count


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("environment")
def test_jobs_beside_requests(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command waits for a short one; after SIGTERM a long one is given back, then it closes."""
    notes = tmp_path / "notes"
    with serve(APP, measured=False, NOTES=str(notes)) as server:
        monkeypatch.setenv("PROBEKIT_URL", f"http://127.0.0.1:{server.port}")
        assert request(server.port, "POST", "/jobs/short?for=2").status == 202
        state = get(server.port, "/admin/drain").json()
        assert state["in_flight"]["jobs"] == state["workers"][0]["jobs"] == 1
        assert state["oldest"][0]["what"] == "job handle short"

        code, out, err = run("drain", "--wait", "--delay", "0", "--wait-timeout", "30")
        assert (code, jobs(server)) == (0, 0)
        assert "in flight: requests 0, websockets 0, jobs 1" in err
        assert out.startswith("drained: the traffic has gone")
        assert notes.read_text() == "ended short\n"

        assert request(server.port, "POST", "/jobs/long?for=60").status == 202
        server.signal(signal.SIGTERM)
        sent = time.monotonic()
        assert server.wait() in {0, -signal.SIGTERM}
        assert time.monotonic() - sent < 12
        log = server.log()
    assert notes.read_text().splitlines() == ["ended short", "back long 1", "closed"]
    assert "in flight: job handle long" in log
    assert ": job handle long; it goes to _app:" in log
