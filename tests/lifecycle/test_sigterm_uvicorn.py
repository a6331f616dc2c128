"""SIGTERM to a real uvicorn: unready first, then everything in flight, then the end."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import get
from tests.e2e.servers import serve
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.servers import Server

APP = Path(__file__).parent / "_app.py"
LOOPS = ["uvicorn-asyncio", "uvicorn-uvloop"]
TERMINATED = -signal.SIGTERM  # 143 for a shell


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Server]:
    """Make a server for the application of this folder."""

    def start(on: str = LOOPS[0], **environ: Any) -> Server:
        return serve(APP, on, NOTE=str(tmp_path / "note"), **environ)

    return start


def note(tmp_path: Path) -> str:
    """Return what the application's shutdown wrote."""
    path = tmp_path / "note"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("on", LOOPS)
def test_sigterm_drains_serves_and_leaves(
    on: str, start: Callable[..., Server], tmp_path: Path
) -> None:
    """Readiness fails at once, all else is served, what is in flight ends, the shutdown runs."""
    with (
        start(on, PROBEKIT_DRAIN_DELAY="0.8", SLOW="1.2") as server,
        ThreadPoolExecutor(1) as other,
    ):
        assert get(server.port, "/readyz").status == 200
        assert get(server.port, "/admin/drain").json()["sigterm"] == "armed"
        assert "connection" not in get(server.port, "/").headers
        in_flight = other.submit(get, server.port, "/slow")
        wait_until(
            lambda: get(server.port, "/admin/drain").json()["in_flight"]["requests"] == 1,
            "the slow request is in flight",
        )
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(server.port, "/readyz").status == 503, "unready", patience=0.3)
        draining = get(server.port, "/readyz").json()["draining"]
        assert (draining["reason"], draining["final"]) == ("SIGTERM", True)
        assert get(server.port, "/healthz").status == 200
        ordinary = get(server.port, "/")
        assert (ordinary.status, ordinary.body) == (200, b"hello")
        assert ordinary.headers["connection"] == "close"
        late = in_flight.result(5)
        assert (late.status, late.body) == (200, b"late")
        assert late.headers["connection"] == "close"
        assert server.wait() == TERMINATED
        assert 0.8 <= time.monotonic() - began < 4
        assert note(tmp_path) == "shut down"
        assert "on SIGTERM" not in server.log()  # nobody configured its logger for INFO
        assert "SIGTERM: draining" in server.log()


@pytest.mark.parametrize("on", LOOPS)
def test_a_second_sigterm_passes_at_once(on: str, start: Callable[..., Server]) -> None:
    """Duplicates within a second are ignored, the next one is not kept waiting."""
    with start(on, PROBEKIT_DRAIN_DELAY="30") as server:
        for _ in range(3):
            server.signal(signal.SIGTERM)
            time.sleep(0.2)
        assert server.running()
        assert get(server.port, "/").status == 200
        time.sleep(0.6)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == TERMINATED
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("draining", [False, True])
def test_sigint_passes_at_once(
    draining: bool, start: Callable[..., Server], tmp_path: Path
) -> None:
    """Ctrl-C does what it does without probekit, also in the middle of a drain."""
    with start(PROBEKIT_DRAIN_DELAY="30") as server:
        if draining:
            server.signal(signal.SIGTERM)
            wait_until(lambda: get(server.port, "/readyz").status == 503, "unready")
        began = time.monotonic()
        server.signal(signal.SIGINT)
        server.wait()
        assert time.monotonic() - began < 3
        assert note(tmp_path) == "shut down"


@pytest.mark.parametrize("environ", [{"PLAIN": "1"}, {"PROBEKIT_DRAIN_DELAY": "0"}], ids=str)
def test_without_a_delay_the_server_ends_as_if_probekit_were_not_there(
    environ: dict[str, str], start: Callable[..., Server], tmp_path: Path
) -> None:
    """The same status and the same shutdown, at once."""
    with start(**environ) as server:
        took = server.stop()
        assert server.wait() == TERMINATED
        assert took < 3
        assert note(tmp_path) == "shut down"
        assert "draining" not in server.log()


def test_a_malformed_variable_stops_the_start() -> None:
    """The log says which variable, what it holds and what is wanted."""
    with (
        pytest.raises(RuntimeError, match=r"PROBEKIT_DRAIN_DELAY must be .* got 'soon'"),
        serve(APP, NOTE="", PROBEKIT_DRAIN_DELAY="soon"),
    ):
        pass


@pytest.mark.parametrize("on", LOOPS)
def test_an_application_without_a_lifespan_drains_too(
    on: str, start: Callable[..., Server]
) -> None:
    """An application that knows no lifespan must not lose requests for it."""
    with start(on, BARE="1", PROBEKIT_DRAIN_DELAY="0.5") as server:
        assert get(server.port, "/").status == 200
        assert get(server.port, "/readyz").status == 200  # the first probe is the start
        shown = get(server.port, "/admin/drain").json()
        assert (shown["sigterm"], shown["drain_delay"]) == ("armed", 0.5)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(server.port, "/readyz").status == 503, "unready", patience=0.3)
        assert get(server.port, "/").status == 200
        assert server.wait() == TERMINATED
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("on", LOOPS)
def test_without_a_lifespan_the_first_ordinary_request_is_the_start(
    on: str, start: Callable[..., Server]
) -> None:
    """Where nobody asks for readiness the drain is kept all the same."""
    with start(on, BARE="1", PROBEKIT_DRAIN_DELAY="0.5") as server:
        assert get(server.port, "/").status == 200
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        time.sleep(0.1)
        assert get(server.port, "/").headers["connection"] == "close"
        assert server.wait() == TERMINATED
        assert time.monotonic() - began >= 0.5


def test_without_a_lifespan_and_a_request_the_server_ends_at_once(
    start: Callable[..., Server],
) -> None:
    """Nobody was served there, so nobody is sent away."""
    with start(BARE="1", PROBEKIT_DRAIN_DELAY="30") as server:
        assert server.stop() < 3
