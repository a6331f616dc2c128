"""The event loop that a WSGI process keeps for its checks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from probekit import Probes
from probekit._core.portal import PORTAL, Portal
from probekit.wsgi import ProbeMiddleware
from tests.waiting import wait_until

from ._asking import ask

ROOT = Path(__file__).parents[2]


async def answer() -> int:
    """Return a number."""
    await asyncio.sleep(0)
    return 42


def portals() -> int:
    """Return how many threads turn a loop of ours."""
    return [thread.name for thread in threading.enumerate()].count("probekit:loop")


def test_it_runs_what_any_thread_brings() -> None:
    """Many threads at once share one loop, which is made when the first comes."""
    portal, before = Portal(), portals()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: portal.run(answer), range(50)))
    assert results == [42] * 50
    assert portals() == before + 1


def test_what_is_raised_reaches_the_caller() -> None:
    """An exception crosses the threads."""

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Portal().run(fail)


def test_the_loop_outlives_who_exits_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that exits or stops the loop silences no probe; the log says who it was."""
    portal = Portal()

    def leave() -> None:
        raise SystemExit(1)

    async def spoil() -> None:
        asyncio.get_running_loop().call_soon(leave)
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
        await asyncio.sleep(0.01)

    portal.run(spoil)
    assert portal.run(answer) == 42
    assert "tried to end the event loop of the checks" in caplog.text


def test_a_loop_that_was_closed_is_replaced() -> None:
    """Who closes it makes the next question take a new one, and no thread spins."""
    portal = Portal()

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = portal.run(loop)

    class Closer(logging.Handler):
        """Hears that the loop stands still, and closes it."""

        def emit(self, record: logging.LogRecord) -> None:
            first.close()

    def leave() -> None:
        raise SystemExit(1)

    closer, before = Closer(), portals()
    logging.getLogger("probekit").addHandler(closer)
    try:
        first.call_soon_threadsafe(leave)
        wait_until(lambda: portals() == before - 1, "its thread has ended")
    finally:
        logging.getLogger("probekit").removeHandler(closer)
    assert portal.run(loop) is not first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_has_a_loop_of_its_own() -> None:
    """A server that forks after it asked once finds its probes answered in the child."""
    probes = Probes(drain_delay=0)
    app = ProbeMiddleware(lambda *_: [], probes=probes)
    probes.readiness(answer_nothing)
    assert ask(app, "/readyz").status == 200
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            os._exit(0 if ask(app, "/readyz").status == 200 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


async def answer_nothing() -> None:
    """Be well."""


LIMITED = """
import os, resource, sys, threading
sys.path.insert(0, {root!r})
from probekit import Probes
from probekit.wsgi import ProbeMiddleware
from tests.wsgi._asking import ask


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


app = ProbeMiddleware(hello, probes=Probes(drain_delay=0))
if {limit!r} == "files":
    kind, limit = resource.RLIMIT_NOFILE, os.open(os.devnull, os.O_RDONLY)
else:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    kind, limit = resource.RLIMIT_AS, used + 100_000_000
    threading.stack_size(500_000_000)
before = resource.getrlimit(kind)
resource.setrlimit(kind, (limit, before[1]))
print(*(ask(app, path).status for path in ("/", "/healthz", "/readyz", "/admin/drain")))
resource.setrlimit(kind, before)
threading.stack_size(0)
print(*(ask(app, path).status for path in ("/", "/healthz", "/readyz", "/admin/drain")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits are the system's")
@pytest.mark.parametrize("limit", ["files", "memory"])
def test_a_system_that_grants_no_loop_fails_no_request(limit: str) -> None:
    """Without a file or the memory for a thread readiness fails, until there is one."""
    code = LIMITED.format(root=str(ROOT), limit=limit)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15)
    assert done.stdout.splitlines() == ["200 200 503 500", "200 200 200 200"], done.stderr


WITHOUT_FORK = """
import os, sys
sys.path.insert(0, {root!r})
del os.fork, os.register_at_fork
from probekit import Probes
from probekit.wsgi import ProbeMiddleware
from tests.wsgi._asking import ask

print(ask(ProbeMiddleware(lambda *_: [], probes=Probes(drain_delay=0)), "/readyz").status)
"""


def test_it_needs_no_fork() -> None:
    """A system that forks nothing has nothing to forget."""
    command = [sys.executable, "-c", WITHOUT_FORK.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15)
    assert done.stdout.split() == ["200"], done.stderr


HUNG = """
import sys, time
sys.path.insert(0, {root!r})
from probekit import Probes
from probekit.wsgi import ProbeMiddleware
from tests.wsgi._asking import ask
import asyncio

probes = Probes(drain_delay=0)
app = ProbeMiddleware(lambda *_: [], probes=probes)


@probes.readiness(timeout=0.2)
def sync() -> None:
    time.sleep(3600)


@probes.readiness(timeout=0.2)
async def patient() -> None:
    await asyncio.sleep(3600)


began = time.monotonic()
print(ask(app, "/readyz").status, time.monotonic() - began < 1.5)
"""


def test_the_process_ends_while_checks_hang() -> None:
    """Neither the loop's thread nor a check's holds the process back."""
    command = [sys.executable, "-c", HUNG.format(root=str(ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15)
    assert (done.stdout.split(), done.returncode) == (["503", "True"], 0), done.stderr


def test_a_check_that_stops_the_loop_silences_nothing() -> None:
    """The loop is not the check's, and goes on for everybody."""
    probes = Probes(drain_delay=0)
    app = ProbeMiddleware(lambda *_: [], probes=probes)

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    probes.readiness(stop, max_age=0)
    assert [ask(app, "/readyz").status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_a_check_that_exits_fails_and_ends_nothing(ending: type[BaseException]) -> None:
    """A check that wants to end the process is a check that failed."""
    probes = Probes(drain_delay=0)
    app = ProbeMiddleware(lambda *_: [], probes=probes)

    async def leave() -> None:
        raise ending

    probes.readiness(leave, max_age=0)
    assert [ask(app, "/readyz").status for _ in range(2)] == [503, 503]
    assert PORTAL.run(answer) == 42
