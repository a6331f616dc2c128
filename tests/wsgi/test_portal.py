"""The event loop that a WSGI process keeps for its checks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes
from probekit._core.portal import LOOKED_AFTER, PORTAL, Portal
from probekit.wsgi import ProbeMiddleware
from tests.waiting import wait_until

from ._asking import ask

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType

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


async def its_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that turns."""
    return asyncio.get_running_loop()


class Broken(logging.Handler):
    """Raises, as no handler should."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        raise ValueError(record)


@contextmanager
def heard_by(handler: logging.Handler) -> Iterator[None]:
    """Let a handler have what probekit logs."""
    logging.getLogger("probekit").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("probekit").removeHandler(handler)


def kill_its_thread(portal: Portal) -> None:
    """End the thread at a place where nothing catches what ends it."""
    loop = portal.run(its_loop)
    before = portals()

    def break_it() -> None:
        setattr(loop, "run_forever", None)  # noqa: B010 - not a method any more
        loop.stop()

    loop.call_soon_threadsafe(break_it)
    wait_until(lambda: portals() == before - 1, "its thread has ended")
    assert not loop.is_closed()


def test_a_thread_that_died_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A loop that breaks ends its thread, the log says so, and the next question finds another."""
    portal = Portal()
    first = portal.run(its_loop)
    kill_its_thread(portal)
    assert "the event loop of the checks has broken" in caplog.text
    assert portal.run(answer) == 42
    assert portal.run(its_loop) is not first
    assert first.is_closed()  # and what it held is free


def test_a_thread_that_died_without_a_word_is_replaced() -> None:
    """Logging that is broken itself changes nothing."""
    portal = Portal()
    with heard_by(Broken()):
        kill_its_thread(portal)
        assert portal.run(answer) == 42

        def leave() -> None:
            raise SystemExit(1)

        portal.run(its_loop).call_soon_threadsafe(leave)
        assert portal.run(answer) == 42


def test_a_loop_that_cannot_be_closed_is_replaced() -> None:
    """What is left of it is nobody's concern."""
    portal = Portal()
    first = portal.run(its_loop)
    kill_its_thread(portal)
    close = first.close

    def fail() -> None:
        close()
        raise OSError("not open")

    setattr(first, "close", fail)  # noqa: B010 - a loop of which no good can come
    assert portal.run(answer) == 42


def asked_for_ever(portal: Portal) -> tuple[threading.Thread, list[str]]:
    """Ask in a thread for what never comes; return that and the errors that it gets."""
    begun, errors = threading.Event(), list[str]()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(3600)

    def ask_it() -> None:
        with pytest.raises(RuntimeError) as raised:
            portal.run(wait)
        errors.append(str(raised.value))

    asking = threading.Thread(target=ask_it)
    asking.start()
    assert begun.wait(10)
    return asking, errors


def test_who_waits_for_a_loop_that_dies_is_told() -> None:
    """A request that was under way gets an error instead of waiting for ever."""
    portal = Portal()
    asking, errors = asked_for_ever(portal)
    kill_its_thread(portal)
    asking.join(10)
    assert "its thread has died" in errors[0]
    assert portal.run(answer) == 42


def test_who_waits_for_a_loop_that_is_closed_is_told() -> None:
    """The same where an application closes whatever loops it finds."""
    portal = Portal()
    asking, errors = asked_for_ever(portal)
    kill_its_thread(portal)
    assert portal.run(answer) == 42  # which closes the old one
    asking.join(10)
    assert "was closed amid a question" in errors[0] or "has died" in errors[0]


def test_a_loop_that_is_closed_while_somebody_asks_is_an_error() -> None:
    """What was to run on it is thrown away in order."""
    portal = Portal()

    def ask_too_late() -> Coroutine[Any, Any, int]:
        loop = portal.run(its_loop)
        kill_its_thread(portal)
        loop.close()
        return answer()

    with pytest.raises(RuntimeError, match="closed"):
        portal.run(ask_too_late)
    assert portal.run(answer) == 42


def test_a_question_may_take_its_time() -> None:
    """As long as the loop turns nobody is told that it does not; what is raised is the answer."""
    portal = Portal()

    async def slowly() -> None:
        await asyncio.sleep(LOOKED_AFTER * 1.2)
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        portal.run(slowly)


def test_an_answer_that_comes_as_the_loop_is_looked_after_is_not_lost() -> None:
    """The caller may lose the processor between waiting long enough and looking once more."""
    release = threading.Event()
    waits = {Future.result.__code__, Future.exception.__code__}
    asked: list[Future[int]] = []

    async def slowly() -> int:
        while not release.is_set():
            await asyncio.sleep(0.01)
        return 42

    def hold_up(frame: FrameType, event: str, _: object) -> None:
        if frame.f_code not in waits or release.is_set():
            return
        if event == "call":
            asked.append(frame.f_locals["self"])
        elif event == "return":
            release.set()
            wait_until(asked[0].done, "the answer is there")

    sys.setprofile(hold_up)
    try:
        assert Portal().run(slowly) == 42
    finally:
        sys.setprofile(None)


def test_a_blocked_loop_holds_no_thread_of_the_server() -> None:
    """A check that blocks the loop fails readiness in a few seconds, until it lets go."""
    probes = Probes(drain_delay=0)
    app = ProbeMiddleware(lambda *_: [], probes=probes)
    assert ask(app, "/readyz").status == 200
    release = threading.Event()

    @probes.readiness
    async def blocks() -> None:
        while not release.is_set():  # to wait would be caught, as it should be
            pass

    answers = [ask(app, path) for path in ("/readyz", "/healthz")]
    assert [answer.status for answer in answers] == [503, 200]
    release.set()
    wait_until(lambda: ask(app, "/readyz").status == 200, "readiness recovers")


def test_the_probes_survive_the_death_of_the_thread() -> None:
    """Readiness is answered by the next loop, and the background checks go on there."""
    probes = Probes(drain_delay=0)
    app = ProbeMiddleware(lambda *_: [], probes=probes)
    ran: list[asyncio.AbstractEventLoop] = []

    @probes.readiness(interval=0.1, timeout=0.1)
    async def background() -> None:
        ran.append(asyncio.get_running_loop())

    wait_until(lambda: ask(app, "/readyz").status == 200, "it has run")
    kill_its_thread(PORTAL)
    assert ask(app, "/healthz").status == 200
    assert ask(app, "/readyz").status == 200
    heartbeat = probes.service.engine.heartbeat
    beats = heartbeat.beats
    wait_until(lambda: len(set(ran)) == 2, "it runs on the new loop")
    wait_until(lambda: heartbeat.beats > beats, "the heart beats on")


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
