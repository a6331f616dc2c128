"""What the side port says of a process that stands still, and of its neighbours."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes, Status
from probekit._core.heartbeat import Heartbeat
from probekit._core.portal import PORTAL, SIDE
from probekit._lifecycle.watchdog.cause import Effort
from probekit._lifecycle.watchdog.signs import LoopSigns
from probekit.asgi import ProbeApp
from probekit.wsgi import ProbeMiddleware
from tests.alive._stage import Stage
from tests.core.helpers import Recorder
from tests.waiting import wait_until
from tests.web._asking import ask as ask_app
from tests.web._asking import make_probes
from tests.wsgi._asking import ask as ask_wsgi

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIEnvironment

    from probekit._core.portal import Portal
    from probekit.wsgi import WSGIApp
    from tests.e2e.clients import Answer

LOCAL = "127.0.0.1"


class Application:
    """An application on asyncio in a thread of its own, with a side port beside it."""

    def __init__(self, probes: Probes, **options: Any) -> None:
        self.probes = probes
        self._options = options
        self._ready = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Application:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._left.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ident = threading.get_ident()
        self._left = asyncio.Event()
        async with self.probes.serve(host=LOCAL, port=0, **self._options) as serving:
            self.port = serving.port
            self._ready.set()
            await self._left.wait()

    def stand_still(self) -> Callable[[], None]:
        """Block the loop until what is returned is called."""
        blocked, go_on = threading.Event(), threading.Event()

        def block() -> None:
            blocked.set()
            go_on.wait(15)

        self.loop.call_soon_threadsafe(block)
        assert blocked.wait(10)
        return go_on.set


@pytest.fixture
def probes() -> Probes:
    """Probes without checks."""
    return make_probes()


@pytest.fixture
def application(probes: Probes) -> Iterator[Application]:
    """Return an application that has started."""
    with Application(probes) as application:
        yield application


def test_a_loop_that_stands_still_is_alive_until_it_counts_as_stuck(
    application: Application,
) -> None:
    """Liveness asks nothing of the loop; readiness does, and says so when it gets no answer."""
    go_on = application.stand_still()
    try:
        assert ask(application.port, "/healthz").status == 200
        answer = ask(application.port, "/readyz")
        assert answer.status == 503
        assert answer.message is not None
        assert answer.message.startswith("the event loop has stood still for ")
        assert answer.message.endswith(" s, so the checks could not be asked")
        assert ask(application.port, "/startupz").status == 200
    finally:
        go_on()
    wait_until(lambda: ask(application.port, "/readyz").status == 200, "it is ready again")


def test_a_question_without_checks_waits_for_nobody(application: Application) -> None:
    """A loop in another thread is answered at once, whatever the application's does."""
    go_on = application.stand_still()
    try:
        assert asyncio.run(application.probes.report()).passing
    finally:
        go_on()


def test_checks_run_on_the_loop_of_the_application(application: Application) -> None:
    """What is bound to that loop works, whoever asks."""
    threads = []

    async def check() -> None:
        await asyncio.sleep(0)
        threads.append(threading.get_ident())

    for declare in (application.probes.readiness, application.probes.liveness):
        declare(check, max_age=0)
    application.probes.startup(check)
    for path in ("/readyz", "/healthz", "/startupz", "/readyz/check"):
        assert ask(application.port, path).status == 200
    assert set(threads) == {application.ident}
    assert not SIDE.is_current()


def test_liveness_keeps_its_last_results_while_the_loop_is_late(application: Application) -> None:
    """A check that said no goes on saying so, and one that never ran says nothing against it."""
    fail = threading.Event()

    @application.probes.liveness(max_age=0)
    async def check() -> None:
        if fail.is_set():
            raise ValueError

    go_on = application.stand_still()
    assert ask(application.port, "/healthz").status == 200
    fail.set()
    go_on()
    wait_until(lambda: ask(application.port, "/healthz").status == 503, "it has run")
    go_on = application.stand_still()
    fail.clear()
    time.sleep(0.15)  # so long is an answer repeated
    assert ask(application.port, "/healthz").status == 503
    go_on()
    wait_until(lambda: ask(application.port, "/healthz").status == 200, "it has run again")


BLOCKED = r" s: \S.* at \S*test_aside\.py:\d+ in block"
"""What the watchdog says of `Application.stand_still`."""


def test_a_process_that_is_stuck_is_not_alive() -> None:
    """The answer has the frame, in every form, and readiness says so at once."""
    with Application(make_probes(stuck_after=0.5)) as application:
        port, go_on = application.port, application.stand_still()
        try:
            wait_until(lambda: ask(port, "/healthz").status == 503, "it is noticed")
            for path in ("/healthz", "/readyz"):
                answer = ask(port, path)
                assert (answer.status, answer.json()["status"]) == (503, "unhealthy")
                assert said(answer, r"the event loop has stood still for \d+\.\d" + BLOCKED)
            lines = ask(port, "/healthz?verbose").body.decode().splitlines()
            assert lines[0].startswith("[-]the event loop has stood still")
            assert any(
                re.match(r"  tests/side/test_aside\.py:\d+ in block: ", line) for line in lines
            )
            assert lines[-1] == "healthz check failed"
            draft = ask(port, "/healthz", "Accept: application/health+json").json()
            assert re.search(BLOCKED, draft["output"])
            assert ask(port, "/startupz").status == 200
        finally:
            go_on()
        wait_until(lambda: ask(port, "/healthz").status == 200, "it is alive again")


def test_strangers_are_not_told_where() -> None:
    """Where no details are shown there is no file and no line."""
    go_on = threading.Event()

    def compute() -> None:
        ends = time.monotonic() + 15
        while not go_on.is_set() and time.monotonic() < ends:
            pass

    with make_probes(stuck_after=0.5).serve(host=LOCAL, port=0, details="status") as serving:
        PORTAL.post(compute)
        try:
            wait_until(lambda: ask(serving.port, "/healthz").status == 503, "it is noticed")
            answer = ask(serving.port, "/healthz")
        finally:
            go_on.set()
    assert said(answer, r"the application has stood still for \d+\.\d s")


def said(answer: Answer, pattern: str) -> bool:
    """Whether that is the whole message of an answer."""
    return re.fullmatch(pattern, answer.message or "") is not None


def ask_alone(app: WSGIApp) -> Answer:
    """Ask an application as a server does that handles one request at a time."""
    one_thread: dict[str, Any] = {"SERVER_SOFTWARE": "wsgiref", "wsgi.multithread": False}
    return ask_wsgi(app, "/", **one_thread)


def test_a_saturated_server_is_alive(probes: Probes) -> None:
    """All threads are busy and move: that is said, and is no failure."""
    begun, go_on = threading.Event(), threading.Event()

    def busy(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        begun.set()
        go_on.wait(15)
        start_response("200 OK", [])
        return []

    app = ProbeMiddleware(busy, probes=probes)
    with probes.serve(host=LOCAL, port=0) as serving, ThreadPoolExecutor(1) as threads:
        request = threads.submit(ask_alone, app)
        try:
            assert begun.wait(10)
            answer = ask(serving.port, "/healthz")
            text = ask(serving.port, "/healthz?verbose").body.decode()
        finally:
            go_on.set()
        assert request.result(10).status == 200
    assert (answer.status, answer.message) == (200, "saturated: all threads are busy")
    assert text == "[+]saturated: all threads are busy\nhealthz check passed\n"


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ({"stuck": "blocked in a call"}, "stuck: blocked in a call"),
        ({"ago": 6.0, "stuck_after": 5.0}, r"has said nothing for \d+\.\d s, and is there"),
        ({"ago": 6.0, "stuck_after": 60.0}, None),
        ({"ago": 600.0, "stuck_after": 0.0}, None),
    ],
    ids=["stuck", "silent", "not silent for long", "not watched"],
)
def test_one_worker_that_is_stuck_fails_the_pod(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any], pattern: str | None
) -> None:
    """Whichever worker is asked, the container is restarted for the one that stands still."""
    monkeypatch.delenv("PROBEKIT_SCOPE")
    monkeypatch.setenv("PROBEKIT_RUNTIME_DIR", str(runtime))
    probes = make_probes()
    with Stage(runtime) as stage:
        pid = stage.process().pid
        stage.worker(pid, probes.service.pod.name, **line)
        with probes.serve(host=LOCAL, port=0) as serving:
            answer = ask(serving.port, "/healthz")
            lines = ask(serving.port, "/healthz?verbose").body.decode().splitlines()
    assert answer.status == (503 if pattern else 200)
    assert pattern is None or said(answer, f"worker {pid}: {pattern}")
    elsewhere = "the stack stands in the log, and in what that worker answers itself: ask again"
    assert lines[1:-1] == ([elsewhere] if pattern else [])


def test_a_neighbour_that_is_stuck_is_no_change_of_this_process(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked on both ports by turns, the log has it once, and no observer hears of a change."""
    monkeypatch.delenv("PROBEKIT_SCOPE")
    monkeypatch.setenv("PROBEKIT_RUNTIME_DIR", str(runtime))
    heard = Recorder()
    probes = Probes(drain_delay=0, observers=[heard])

    async def own_port() -> int:
        return (await ask_app(ProbeApp(probes), "/healthz")).status

    with Stage(runtime) as stage:
        pid, name = stage.process().pid, probes.service.pod.name
        stage.worker(pid, name, stuck="blocked in a call")
        with probes.serve(host=LOCAL, port=0) as serving:

            def both() -> tuple[int, int]:
                time.sleep(0.11)  # so long is an answer repeated
                return ask(serving.port, "/healthz").status, asyncio.run(own_port())

            assert [both() for _ in range(3)] == [(503, 200)] * 3
            stage.say(pid, name)
            wait_until(lambda: both() == (200, 200), "it moves again")
            stage.say(pid, name, stuck="blocked in a call")
            wait_until(lambda: both() == (503, 200), "it is stuck again")
    assert heard.reports == [(None, Status.HEALTHY)]
    told = f"the side port answers liveness with 503: worker {pid}: stuck: blocked in a call"
    assert caplog.messages.count(told) == 2


def test_an_application_that_has_not_started_has_not(probes: Probes) -> None:
    """No check is run before it is there, and none after it has gone."""
    from probekit._web.side import Side

    ran = []
    for declare in (probes.readiness, probes.startup, probes.liveness):
        declare(lambda: ran.append(1), name="check", max_age=0)
    side = Side(probes.service, {}, host=LOCAL, port=0, lends_loop=False)
    side.listen()
    try:
        probes.service.starting()
        for path in ("/startupz", "/readyz"):
            answer = ask(side.port, path)
            assert (answer.status, answer.message) == (503, "the application has not started")
        assert ask(side.port, "/healthz").status == 200
        PORTAL.run(probes.service.stopped)
        probes.service.served = True
        time.sleep(0.11)  # so long is an answer repeated
        for path in ("/startupz", "/readyz"):
            assert ask(side.port, path).message == "the application has ended"
        assert ask(side.port, "/healthz").status == 200
    finally:
        side.close()
    side.close()  # twice is no harm
    assert ran == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(probes: Probes) -> None:
    """Whatever ends the side port's thread, the next look of the keeper brings it back."""
    with probes.serve(host=LOCAL, port=0) as serving:
        assert ask(serving.port, "/healthz").status == 200
        loop = SIDE.revive()
        # A connection that dies with its loop is told of by the collector, in whichever test.
        wait_until(lambda: not asyncio.all_tasks(loop), "the connection has ended")
        kill(SIDE)
        wait_until(lambda: listens(serving.port), "it answers again")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_checks_whose_thread_died_get_another_at_the_next_question(probes: Probes) -> None:
    """What no longer turns is not stuck, or that would be said for ever, and nothing be asked."""
    probes.readiness(lambda: None, name="check", max_age=0)
    with probes.serve(host=LOCAL, port=0) as serving:
        assert ask(serving.port, "/readyz").status == 200
        kill(PORTAL)
        signs = LoopSigns(probes.service.engine.heartbeat, probes.service.traffic)
        assert all(signs.seen(ask_tasks=True) for _ in range(3))
        time.sleep(0.11)  # so long is an answer repeated
        assert ask(serving.port, "/readyz").status == 200


def kill(portal: Portal) -> None:
    """End the thread of a portal, as a loop does that is broken."""
    loop, thread = portal.revive(), portal._thread
    assert thread is not None

    def break_it() -> None:
        setattr(loop, "run_forever", None)  # noqa: B010 - not a method any more
        loop.stop()

    portal.post(break_it)
    thread.join(10)
    assert not thread.is_alive()


def test_an_answer_may_take_longer_than_the_taking(application: Application) -> None:
    """A loop that has come round to the question has as long as its checks may take."""

    @application.probes.readiness(timeout=5)
    async def slow() -> None:
        await asyncio.sleep(1)

    assert ask(application.port, "/readyz").status == 200


def test_a_loop_that_is_starved_of_cpu_is_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Readiness has the cause, the log has it once; it is alive, since a restart needs more CPU."""
    probes = make_probes(stuck_after=0.5)
    with Application(probes) as application:
        native, port = probes.service.engine.heartbeat.native, application.port
        (tmp_path / str(native)).mkdir()
        wants_one = f"1 (a) R {' '.join(['0'] * 20)}\n"
        (tmp_path / str(native) / "stat").write_text(wants_one)
        probes.service.watchdog.effort = Effort(tmp_path)
        go_on = application.stand_still()
        try:
            wait_until(lambda: "starved of CPU" in caplog.text, "it is noticed")
            assert said(
                ask(port, "/readyz"),
                r"the event loop has stood still for \d+\.\d s, starved of CPU, "
                r"so the checks could not be asked",
            )
            assert ask(port, "/healthz").status == 200
        finally:
            go_on()
        wait_until(lambda: ask(port, "/readyz").status == 200, "it is ready again")
    assert caplog.text.count("starved of CPU") == 1


def test_the_lag_that_is_told_is_the_loops(application: Application) -> None:
    """It counts from the beat that is missing, and not from the question."""
    heartbeat = application.probes.service.engine.heartbeat
    assert isinstance(heartbeat, Heartbeat)
    go_on = application.stand_still()
    wait_until(lambda: heartbeat.lag > 1.0, "it has stood still for a while")
    message = ask(application.port, "/readyz").message
    go_on()
    assert message is not None
    assert float(message.split()[7]) > 1.5
