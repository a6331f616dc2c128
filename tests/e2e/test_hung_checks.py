from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until

from .clients import get, volley
from .servers import SERVERS, serve

if TYPE_CHECKING:
    from collections.abc import Generator

    from .servers import Server

TIMEOUT = 0.5
"""Seconds that the hung check of the application may take."""
AT_ONCE = 3.0
"""Seconds that say "without waiting for the hang" even on a busy machine; `benchmarks` is exact."""

ON = ["uvicorn-asyncio", "uvicorn-uvloop", "hypercorn-trio"]
HANGS = ["async", "sync", "lock", "stubborn"]
ON_THREAD = {"sync", "lock"}


@pytest.fixture(params=ON)
def on(request: pytest.FixtureRequest) -> str:
    """Each server in turn."""
    name: str = request.param
    assert name in SERVERS
    return name


@pytest.fixture(params=HANGS)
def hang(request: pytest.FixtureRequest) -> str:
    """Each way to hang in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def server(on: str, hang: str) -> Generator[Server]:
    """A server one of whose checks hangs."""
    with serve("hung", on, HANG=hang) as running:
        yield running


def warm_up(server: Server) -> list[str]:
    """Let the pools make the threads that they keep, and return the names of all."""
    for path in ("/sync", "/to-thread", "/resolve"):
        assert get(server.port, path).status == 200
    names: list[str] = get(server.port, "/threads").json()
    return names


def test_every_probe_is_answered_and_everything_else_goes_on(server: Server, hang: str) -> None:
    """A hung check fails its probe in time, and costs one thread at most and nothing else."""
    before = warm_up(server)

    answers = volley(server.port, "/readyz", count=50, at_a_time=5)

    assert {answer.status for answer in answers} == {503}
    assert max(answer.seconds for answer in answers) < TIMEOUT + AT_ONCE
    checks = answers[-1].json()["checks"]
    assert checks["hung"]["message"].startswith("timed out after 0.5 s, still running for ")
    assert checks["healthy"]["status"] == "healthy"

    for path, said in (("/", b"async"), ("/sync", b"sync"), ("/to-thread", b"thread")):
        answer = get(server.port, path)
        assert (answer.status, answer.body) == (200, said)
        assert answer.seconds < AT_ONCE
    assert get(server.port, "/resolve").status == 200
    assert get(server.port, "/healthz").status == 200

    after: list[str] = get(server.port, "/threads").json()
    assert after.count("probekit:hung") == (hang in ON_THREAD)
    # The pools may have lost or made an idle thread of their own meanwhile.
    assert len(after) <= len(before) + (hang in ON_THREAD)

    assert server.stop() < 8.0


@pytest.mark.parametrize("on", ["uvicorn-asyncio", "uvicorn-uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("hang", ["async", "sync", "stubborn"])
def test_the_process_ends_without_a_lifespan(on: str, hang: str, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end it although nothing told probekit that the application stops."""
    with serve("hung", on, "--lifespan", "off", HANG=hang) as server:
        assert get(server.port, "/readyz").status == 503

        server.signal(number)
        server.wait(8.0)


def test_a_run_that_swallows_its_cancellation_is_let_go(on: str) -> None:
    """After ``cancel_after`` a stubborn check is driven no further, and its next run is started."""
    with serve("hung", on, HANG="stubborn", CANCEL_AFTER="0.6") as server:

        def message() -> str:
            text: str = get(server.port, "/readyz").json()["checks"]["hung"]["message"]
            return text

        assert message().startswith("timed out")
        wait_until(lambda: message() == "given up after 0.6 s", "it is given up")
        wait_until(lambda: message().startswith("timed out"), "it runs again")

        began = time.monotonic()
        answers = volley(server.port, "/readyz", count=10, at_a_time=5)
        assert {answer.status for answer in answers} == {503}
        assert time.monotonic() - began < 2 * TIMEOUT + AT_ONCE
        assert get(server.port, "/").status == 200


@pytest.mark.parametrize("on", SERVERS)
def test_a_check_may_raise_anything_and_block_the_loop(on: str) -> None:
    """What ends a process elsewhere fails one check here, and who blocks the loop is named."""
    with serve("faulty", on) as server:
        for _ in range(2):
            answer = get(server.port, "/readyz")
            assert answer.status == 503
            checks = answer.json()["checks"]
            assert {
                name: check["message"] for name, check in checks.items() if name != "blocks"
            } == {
                "exits": "SystemExit",
                "exits_on_thread": "SystemExit",
                "interrupts": "KeyboardInterrupt",
                "interrupts_on_thread": "KeyboardInterrupt",
                "raises_several": "BaseExceptionGroup (ValueError, SystemExit)",
            }
            assert checks["blocks"]["status"] == "healthy"
            assert 0.3 <= checks["blocks"]["blocked_loop"] < AT_ONCE
            assert get(server.port, "/").body == b"async"
            assert get(server.port, "/healthz").status == 200

        log = server.log()
        assert log.count("check 'blocks' (faulty:") == 1  # it is told once, not at every run
        assert "held the event loop for 3" in log
        assert "a secret" not in answer.body.decode()
        assert server.running()
