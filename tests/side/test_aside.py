"""What the side port says of a process that stands still, and of its neighbours."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from probekit._core.heartbeat import Heartbeat
from probekit._core.portal import PORTAL, SIDE
from probekit._lifecycle.pod.records import Worker
from probekit._lifecycle.service import Service
from probekit._lifecycle.watchdog.stall import Stall
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Probes
    from probekit._core.portal import Portal

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


@pytest.fixture
def stalls(monkeypatch: pytest.MonkeyPatch) -> list[Stall]:
    """Return what every service is stuck in, if it is anything."""
    stalls: list[Stall] = []
    monkeypatch.setattr(Service, "stall", property(lambda _: next(iter(stalls), None)))
    return stalls


def stuck(seconds: float = 6.2) -> Stall:
    """Return a standstill that has lasted so long."""
    since = time.monotonic() - seconds
    return Stall(since, "blocked in a call", "app.py:22 in handler", "task 'x'", stack="secret")


def test_a_process_that_is_stuck_is_not_alive(
    application: Application, stalls: list[Stall]
) -> None:
    """The answer has the frame, in every form, and readiness says so at once."""
    stalls.append(stuck())
    text = " s: blocked in a call at app.py:22 in handler (task 'x')"
    for path in ("/healthz", "/readyz"):
        answer = ask(application.port, path)
        assert (answer.status, answer.json()["status"]) == (503, "unhealthy")
        assert answer.message is not None
        assert answer.message.startswith("the event loop has stood still for 6.")
        assert answer.message.endswith(text)
    lines = ask(application.port, "/healthz?verbose").body.decode().splitlines()
    assert lines[0].startswith("[-]the event loop has stood still")
    assert lines[1:] == ["healthz check failed"]
    draft = ask(application.port, "/healthz", "Accept: application/health+json").json()
    assert draft["output"].endswith(text)
    assert ask(application.port, "/startupz").status == 200
    stalls.clear()
    wait_until(lambda: ask(application.port, "/healthz").status == 200, "it is alive again")


def test_strangers_are_not_told_where(probes: Probes, stalls: list[Stall]) -> None:
    """Where no details are shown there is no file and no line."""
    stalls.append(stuck())
    with probes.serve(host=LOCAL, port=0, details="status") as serving:
        message = ask(serving.port, "/healthz").message
    assert message is not None
    assert message.startswith("the application has stood still for 6.")
    assert message.endswith(" s")


def test_a_saturated_server_is_alive(probes: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads are busy and move: that is said, and is no failure."""
    monkeypatch.setattr(Service, "saturated", True)
    with probes.serve(host=LOCAL, port=0) as serving:
        answer = ask(serving.port, "/healthz")
        text = ask(serving.port, "/healthz?verbose").body.decode()
    assert (answer.status, answer.message) == (200, "saturated: all threads are busy")
    assert text == "[+]saturated: all threads are busy\nhealthz check passed\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"stuck": "blocked in a call at app.py:22 in handler"}, "stuck: blocked in a call at"),
        ({"at": -6.0, "stuck_after": 5.0}, "has said nothing for 6."),
        ({"at": -5.2, "stuck_after": 5.0}, None),
        ({"at": -600.0, "stuck_after": 0.0}, None),
        ({"stuck": "mine", "pid": os.getpid()}, None),
    ],
    ids=["stuck", "silent", "late", "not watched", "this one"],
)
def test_one_worker_that_is_stuck_fails_the_pod(
    probes: Probes,
    monkeypatch: pytest.MonkeyPatch,
    line: dict[str, Any],
    message: str | None,
) -> None:
    """Whichever worker is asked, the container is restarted for the one that stands still."""
    at = time.monotonic() + line.pop("at", 0.0)
    worker = Worker(
        **({"pid": 123, "started": 1.0, "ready": True, "draining": False} | line), at=at
    )
    monkeypatch.setattr(probes.service.pod, "workers", lambda: [worker])
    with probes.serve(host=LOCAL, port=0) as serving:
        answer = ask(serving.port, "/healthz")
    assert answer.status == (503 if message else 200)
    if message:
        assert answer.message is not None
        assert answer.message.startswith(f"worker 123: {message}")


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
        # Or its last words, that it was destroyed, would fail whichever test runs just then.
        wait_until(lambda: not asyncio.all_tasks(SIDE.revive()), "the connection has ended")
        kill(SIDE)
        wait_until(lambda: listens(serving.port), "it answers again")


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
