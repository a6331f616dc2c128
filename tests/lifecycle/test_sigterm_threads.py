"""A server in a thread, while the main thread sleeps, waits, or has come to its end."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import uvicorn

from probekit.asgi import ProbeMiddleware
from tests.doors._apps import hello
from tests.e2e.clients import get
from tests.waiting import free_port, wait_until
from tests.web._asking import make_probes

from ._signals import Program, say

if TYPE_CHECKING:
    from probekit._web.asgi_types import Receive, Scope, Send


def serving(main_thread: str, port: int, delay: float, loop: str, lives: int = 1) -> None:
    """Serve in a thread; ``/slow`` takes a second and a half."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/slow":
            await asyncio.sleep(1.5)
        await hello(scope, receive, send)

    probes = make_probes(drain_delay=delay, linger=10)
    door = ProbeMiddleware(app, probes=probes)

    def serve() -> None:
        for life in range(lives):
            config = uvicorn.Config(door, port=port, loop=loop, log_level="critical")
            server = uvicorn.Server(config)
            if life < lives - 1:
                threading.Timer(1.0, setattr, [server, "should_exit", True]).start()
            server.run()

    thread = threading.Thread(target=serve)
    thread.start()
    say("serving")
    if main_thread == "sleeps":
        time.sleep(60)
    elif main_thread == "joins":
        thread.join()
    elif main_thread == "waits":
        threading.Event().wait()
    elif main_thread == "waits with a limit":
        threading.Event().wait(60)
    elif main_thread == "computes":
        while True:
            sum(range(1000))


def armed(port: int) -> bool:
    """Return whether the application would drain."""
    try:
        return bool(get(port, "/admin/drain").json()["sigterm"] == "armed")
    except OSError:
        return False


THREADS_OUTLIVE_HANDLERS = pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="from Python 3.12 on a main thread that has come to its end runs no handler any more",
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "main_thread",
    [
        *("sleeps", "joins", "waits", "waits with a limit", "computes"),
        pytest.param("has come to its end", marks=THREADS_OUTLIVE_HANDLERS),
    ],
)
def test_it_drains_lingers_and_dies(main_thread: str, loop: str) -> None:
    """Nobody handles the signal there: uvicorn does so in the main thread only."""
    port = free_port()
    with (
        Program(serving, main_thread, port, 0.5, loop) as program,
        ThreadPoolExecutor(1) as other,
    ):
        assert program.said() == "serving"
        wait_until(lambda: armed(port), "it stands by")
        assert get(port, "/readyz").status == 200
        in_flight = other.submit(get, port, "/slow")
        time.sleep(0.1)
        began = program.signal()
        wait_until(lambda: get(port, "/readyz").status == 503, "unready", patience=0.4)
        ordinary = get(port, "/")
        assert (ordinary.status, ordinary.headers["connection"]) == (200, "close")
        late = in_flight.result(5)
        assert (late.status, late.body) == (200, b"hello")
        assert program.end() == -15
        assert 1.0 < time.monotonic() - began < 4


def test_its_second_life_lingers_too() -> None:
    """The first could not put back what was below, from its thread."""
    port = free_port()
    with (
        Program(serving, "waits", port, 0.3, "asyncio", 2) as program,
        ThreadPoolExecutor(1) as other,
    ):
        assert program.said() == "serving"
        wait_until(lambda: armed(port), "it stands by")
        wait_until(lambda: not armed(port), "it has ended")
        wait_until(lambda: armed(port), "it stands by again")
        in_flight = other.submit(get, port, "/slow")
        time.sleep(0.1)
        program.signal()
        assert in_flight.result(5).status == 200
        assert program.end() == -15
