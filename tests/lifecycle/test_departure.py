"""What is told and awaited between SIGTERM and the end."""

from __future__ import annotations

import logging
import queue
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvicorn

from probekit import DrainStep, Observer
from probekit._lifecycle import departure
from probekit._lifecycle.below import HandlerBelow
from probekit._lifecycle.departure import Departure, Event
from probekit._lifecycle.servers import Server
from probekit.asgi import ProbeMiddleware
from tests.doors._apps import hello
from tests.waiting import until, wait_until
from tests.web._asking import HeldClock, ask, make_probes, scope_of

from ._signals import DELAY, StandIn, Twisted, sigterm

if TYPE_CHECKING:
    from probekit import Drain, Probes
    from probekit._lifecycle.departure import Events
    from probekit._web.asgi_types import Receive, Scope, Send

anyio_test = pytest.mark.anyio


def lines(caplog: pytest.LogCaptureFixture, part: str = "SIGTERM: ") -> list[str]:
    """Return what was logged with ``part`` in it."""
    return [line for line in (record.getMessage() for record in caplog.records) if part in line]


def enter(probes: Probes, path: str = "/slow", kind: str = "requests") -> None:
    """Let a request be in flight, by its path."""
    traffic = probes.service.traffic
    described = {"method": "GET", "path": path, "query_string": b"token=secret"}
    if kind == "websockets":
        del described["method"]
    getattr(traffic, kind)[path] = described, traffic.clock()


def leave(probes: Probes, path: str = "/slow") -> None:
    """Let it be done."""
    del probes.service.traffic.requests[path]


def waiting() -> set[threading.Thread]:
    """Return the threads that wait for SIGTERM."""
    return {thread for thread in threading.enumerate() if thread.name == "probekit:sigterm"}


def reached(probes: Probes, step: DrainStep) -> bool:
    """Return whether the drain has come to ``step``."""
    return probes.service.steps.reached(step)


# -- what is in flight --------------------------------------------------------------------------


@anyio_test
async def test_what_is_in_flight_at_the_hand_over_is_named(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """With method, path and age, the oldest first; never with its query."""
    caplog.set_level(logging.DEBUG)
    probes = make_probes(drain_delay=DELAY)
    go_on = anyio.Event()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await go_on.wait()
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})

    middleware = ProbeMiddleware(app, probes=probes)

    async def websocket() -> None:
        scope = {**scope_of("/chat", query=b"token=secret"), "type": "websocket"}
        del scope["method"]
        await middleware(scope, no_messages, ignored)

    async with probes.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: ask(middleware, "/orders/7", "PUT", query=b"token=secret"))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(websocket)
        await anyio.wait_all_tasks_blocked()
        sigterm()
        await until(lambda: bool(server.signals))
        assert not reached(probes, DrainStep.DONE)
        go_on.set()
        await until(lambda: reached(probes, DrainStep.DONE))
    [line] = lines(caplog, "handing")
    assert re.search(r"; in flight: PUT /orders/7 for 0\.\d s, WebSocket /chat for 0\.\d s$", line)
    assert "secret" not in caplog.text


async def no_messages() -> dict[str, Any]:
    """Receive nothing, ever."""
    await anyio.sleep_forever()
    raise AssertionError


async def ignored(_message: object) -> None:
    """Send to nobody."""


def test_what_a_server_will_cut_is_named_in_time(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a second before the limit that a real uvicorn was given, with that limit."""
    config = uvicorn.Config(hello, timeout_graceful_shutdown=1)
    real = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, real.handle_exit)
    probes = make_probes(drain_delay=DELAY)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(lines(caplog, "still in flight")), "it is named")
    [line] = lines(caplog, "still in flight")
    assert re.fullmatch(
        r"SIGTERM: still in flight 0\.[5-9] s after the hand-over, and uvicorn "
        r"\(timeout_graceful_shutdown: 1 s\) cuts it: GET /slow for [01]\.\d s",
        line,
    )
    assert real.should_exit
    assert not reached(probes, DrainStep.DONE)
    leave(probes)
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    probes.service.sigterm.disarm()
    signal.signal(signal.SIGTERM, server.handle)


def test_what_takes_long_is_named_where_no_limit_is_known(
    server: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, without a threat; and its end is told."""
    caplog.set_level(logging.INFO, "probekit")
    monkeypatch.setattr(departure, "LONG", 0.1)
    probes = make_probes(drain_delay=DELAY)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(lines(caplog, "still in flight")), "it is named")
    assert re.fullmatch(
        r"SIGTERM: still in flight 0\.\d s after the hand-over: GET /slow for 0\.\d s",
        lines(caplog, "still in flight")[0],
    )
    leave(probes)
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    probes.service.sigterm.disarm()
    assert len(lines(caplog, "still in flight")) == 1
    assert len(lines(caplog, "drain: done: ")) == 1
    assert len(server.signals) == 1


def test_what_is_unfinished_when_the_application_ends_is_named(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody will finish it, and that is not called done."""
    probes = make_probes(drain_delay=DELAY)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(server.signals), "the server has the signal")
    probes.service.sigterm.disarm()
    wait_until(lambda: bool(lines(caplog, "ends with this in flight")), "named", patience=0.5)
    assert not reached(probes, DrainStep.DONE)


@anyio_test
async def test_an_application_that_ends_right_after_the_hand_over_is_done(server: StandIn) -> None:
    """The end of the last request and that of the application may fall between two looks."""
    probes = make_probes(drain_delay=DELAY)
    async with probes.lifespan():
        enter(probes)
        sigterm()
        await until(lambda: bool(server.signals))
        leave(probes)
    assert reached(probes, DrainStep.DONE)


# -- a second signal ----------------------------------------------------------------------------


def test_a_second_signal_is_told_of_as_such(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The steps and the farewells come all the same, and the server has it once."""
    probes = make_probes(drain_delay=0.3, drain_until="quiet", drain_max=30, quiet_for=30)
    probes.service.traffic.counted = True
    probes.service.sigterm.arm()
    sigterm()
    time.sleep(1.1)
    sigterm()
    assert len(server.signals) == 1
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    assert re.search(
        r"SIGTERM: a second signal goes straight to the handler \S+ after 1\.\d s: no prober has "
        r"seen 503, no request ever came; in flight: nothing",
        lines(caplog, "second")[0],
    )
    probes.service.sigterm.disarm()
    assert len(server.signals) == 1


def test_a_second_signal_at_the_very_moment_of_the_hand_over_is_not_two(server: StandIn) -> None:
    """The server gets one, whichever comes first."""

    class Impatient(logging.Handler):
        """Sends a second signal while the thread is about to hand the first over."""

        def emit(self, record: logging.LogRecord) -> None:
            """Send it, and wait until the server has it."""
            if "handing the signal" in record.getMessage():
                ident = threading.main_thread().ident
                assert ident is not None
                signal.pthread_kill(ident, signal.SIGTERM)
                wait_until(lambda: bool(server.signals), "the server has the signal")

    probes = make_probes(drain_delay=1.2)
    probes.service.sigterm.arm()
    handler = Impatient()
    logging.getLogger("probekit").addHandler(handler)
    try:
        sigterm()
        wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    finally:
        logging.getLogger("probekit").removeHandler(handler)
        probes.service.sigterm.disarm()
    assert len(server.signals) == 1


# -- servers that do not wait -------------------------------------------------------------------


def test_a_server_that_does_not_wait_gets_the_signal_when_all_is_done(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """What it would cut is done first; the log says why, for how long and what."""
    probes = make_probes(drain_delay=DELAY, linger=20)
    probes.service.sigterm.arm()
    enter(probes)
    began = time.monotonic()
    sigterm()
    wait_until(lambda: bool(lines(caplog, "waits for nothing")), "it lingers")
    assert hasty.signals == []
    assert reached(probes, DrainStep.HANDED_OVER)  # or nobody who awaits that would let go
    leave(probes)
    assert not reached(probes, DrainStep.DONE)
    wait_until(lambda: bool(hasty.signals), "the server has the signal")
    assert DELAY <= hasty.signals[0] - began < 10
    assert re.fullmatch(
        r"SIGTERM: drained; daphne \(Twisted\) waits for nothing, so what is in flight is done "
        r"first, within 20 s; after 0\.\d s: no prober has seen 503, no request ever came; in "
        r"flight: GET /slow for 0\.\d s",
        lines(caplog, "waits for nothing")[0],
    )
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    probes.service.sigterm.disarm()


def test_it_does_not_linger_for_ever(hasty: Twisted, caplog: pytest.LogCaptureFixture) -> None:
    """When the time is up it gets the signal whatever is in flight, which is named."""
    probes = make_probes(drain_delay=DELAY, linger=0.3)
    probes.service.sigterm.arm()
    enter(probes)
    began = time.monotonic()
    sigterm()
    wait_until(lambda: bool(hasty.signals), "the server has the signal")
    assert DELAY + 0.3 <= hasty.signals[0] - began < 5
    assert "in flight: GET /slow for " in lines(caplog, "handing")[0]
    probes.service.sigterm.disarm()


def test_where_nothing_is_in_flight_it_does_not_linger(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """The delay is all, and the log has no word of it."""
    probes = make_probes(drain_delay=DELAY, linger=30)
    probes.service.sigterm.arm()
    sigterm()
    wait_until(lambda: bool(hasty.signals), "the server has the signal", patience=5)
    assert lines(caplog, "waits for nothing") == []
    probes.service.sigterm.disarm()


def test_a_second_signal_ends_the_lingering(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever insists is not kept waiting, and gets it once."""
    probes = make_probes(drain_delay=DELAY, linger=30)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(lines(caplog, "waits for nothing")), "it lingers")
    sigterm()
    assert hasty.signals == []  # so soon it is the same one
    time.sleep(1.1)
    sigterm()
    assert len(hasty.signals) == 1
    probes.service.sigterm.disarm()
    time.sleep(DELAY)
    assert len(hasty.signals) == 1


def test_an_application_that_ends_while_it_lingers_sends_no_signal(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody left for whom to send it."""
    probes = make_probes(drain_delay=DELAY, linger=DELAY)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(lines(caplog, "waits for nothing")), "it lingers")
    probes.service.sigterm.disarm()
    time.sleep(2 * DELAY)
    assert hasty.signals == []
    assert not reached(probes, DrainStep.DONE)


@pytest.mark.parametrize("amid", ["draining", "in flight"])
def test_the_thread_ends_with_the_application(
    amid: str, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it waits for; one more for each start would stay behind for ever."""
    before = waiting()
    probes = make_probes(drain_delay=DELAY if amid == "in flight" else 30)
    probes.service.sigterm.arm()
    enter(probes)
    sigterm()
    wait_until(lambda: bool(lines(caplog, amid)), "it waits")
    if amid == "in flight":
        wait_until(lambda: bool(server.signals), "it waits for what is in flight")
    probes.service.sigterm.disarm()
    wait_until(lambda: waiting() <= before, "the thread has ended", patience=1)


@anyio_test
async def test_a_websocket_that_is_told_to_go_is_not_lingered_for(hasty: Twisted) -> None:
    """It is open until somebody closes it, so it is closed before the waiting and not after."""
    probes = make_probes(drain_delay=DELAY, linger=20, close_websockets=True)
    closed = anyio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await closed.wait()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.close":
            closed.set()

    async def connect() -> None:
        middleware = ProbeMiddleware(app, probes=probes)
        await middleware({"type": "websocket", "path": "/chat"}, no_messages, send)

    async with probes.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await anyio.wait_all_tasks_blocked()
        began = time.monotonic()
        sigterm()
        await until(lambda: bool(hasty.signals))
        await closed.wait()
    assert hasty.signals[0] - began < 5


# -- several, late ones, failures ---------------------------------------------------------------


def test_several_applications_are_told_of_together(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Each plan, what each has seen and what each is busy with, in one line."""
    first = make_probes(drain_delay=DELAY)
    second = make_probes(drain_delay=2 * DELAY)
    for probes in (first, second):
        probes.service.sigterm.arm()
    enter(first, "/a")
    enter(second, "/b")
    first.service.evidence.saw_503("a")
    sigterm()
    wait_until(lambda: bool(server.signals), "the server has the signal")
    [begun] = lines(caplog, "draining")
    assert begun.endswith(
        f"the plan: drain for {DELAY:g} s (argument drain_delay); drain for {2 * DELAY:g} s "
        f"(argument drain_delay)"
    )
    [line] = lines(caplog, "handing")
    assert "a prober has seen 503 once, no request ever came; no prober has seen 503" in line
    assert re.search(r"in flight: GET /a for 0\.\d s, GET /b for 0\.\d s$", line)
    leave(first, "/a")
    assert not reached(first, DrainStep.DONE)
    leave(second, "/b")
    for probes in (first, second):
        wait_until(lambda: reached(probes, DrainStep.DONE), "done")  # noqa: B023 - waited for here
        probes.service.sigterm.disarm()


def test_an_application_that_starts_amid_the_drain_leaves_with_the_others(server: StandIn) -> None:
    """It is unready from its start, its hooks run, and it comes to the same steps."""
    heard: list[Drain | None] = []

    class Notes(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            heard.append(drain)

    first = make_probes(drain_delay=0.4)
    first.service.sigterm.arm()
    sigterm()
    late = make_probes(drain_delay=30, observers=[Notes()])
    ran: list[str] = []
    late.on_drain(lambda: ran.append("hook"))
    late.service.sigterm.arm()
    assert late.draining is not None
    wait_until(lambda: bool(ran and heard), "hook and observer are told")
    assert late.draining.final
    for probes in (first, late):
        probes.service.sigterm.disarm()
    assert server.signals == []


def test_a_departure_is_no_business_of_the_next_application(server: StandIn) -> None:
    """One that starts when the last has just ended does not inherit its steps, nor its signal."""
    about_to, go_on = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        """Holds the thread up while it is about to hand over."""

        def emit(self, record: logging.LogRecord) -> None:
            """Wait until the next application has started."""
            if "handing the signal" in record.getMessage():
                about_to.set()
                go_on.wait(10)

    before = waiting()
    first, second = make_probes(drain_delay=DELAY), make_probes(drain_delay=30)
    handler = Slow()
    logging.getLogger("probekit").addHandler(handler)
    try:
        first.service.sigterm.arm()
        sigterm()
        of_the_first = waiting() - before
        wait_until(about_to.is_set, "the thread is about to hand over")
        first.service.sigterm.disarm()
        second.service.sigterm.arm()
        go_on.set()
        wait_until(lambda: not of_the_first & waiting(), "the first thread has ended")
    finally:
        logging.getLogger("probekit").removeHandler(handler)
        second.service.sigterm.disarm()
    assert server.signals == []
    assert not reached(second, DrainStep.BEGUN)


def test_a_departure_that_fails_hands_over_at_once(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The delay is not kept then, and the log has the traceback."""
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=30, drain_until="quiet", drain_max=30, seen_503=1)
    probes.service.sigterm.arm()
    probes.service.traffic.latest = clock.now

    def fail() -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    clock.disturbance = fail
    probes.service.evidence.saw_503("a")
    sigterm()
    wait_until(lambda: bool(server.signals), "the server has the signal", patience=5)
    assert "probekit failed to drain; handing the signal over now" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    probes.service.sigterm.disarm()


# -- the thread's part alone --------------------------------------------------------------------


def depart(*members: Probes, events: Events, waits: bool = True) -> list[float]:
    """Run a departure of ``members`` to its end and return when it handed over."""
    handed_over: list[float] = []

    def hand_over() -> None:
        handed_over.append(time.monotonic())
        events.put(Event.RELEASED)

    below = HandlerBelow(signal.SIG_IGN, Server("a server", waits=waits))
    travellers = [probes.service.sigterm for probes in members]
    Departure(travellers, below, events, hand_over=hand_over).run()
    return handed_over


def test_a_departure_without_obstacles_goes_through() -> None:
    """Begun, told, handed over and done, without a signal or a lifespan."""
    probes = make_probes(drain_delay=0.05)
    probes.service.sigterm.turn()
    began = time.monotonic()
    [handed_over] = depart(probes, events=queue.SimpleQueue())
    assert handed_over - began >= 0.05
    assert reached(probes, DrainStep.DONE)
    assert not reached(probes, DrainStep.CLOSED)


def test_it_does_what_it_is_asked_to_meanwhile_and_stops_when_it_is_told() -> None:
    """Jobs are done in the drain, and None ends it without a hand-over."""
    probes = make_probes(drain_delay=30)
    probes.service.sigterm.turn()
    events: Events = queue.SimpleQueue()
    done: list[str] = []
    events.put(lambda: done.append("job"))
    events.put(None)
    assert depart(probes, events=events) == []
    assert done == ["job"]
    assert not reached(probes, DrainStep.HANDED_OVER)


def test_a_repeated_word_of_the_coming_changes_nothing() -> None:
    """It has begun already."""
    probes = make_probes(drain_delay=0.05)
    probes.service.sigterm.turn()
    events: Events = queue.SimpleQueue()
    events.put(Event.CAME)
    assert len(depart(probes, events=events)) == 1


def test_who_is_there_already_does_not_come_in_late(server: StandIn) -> None:
    """Nobody is told twice."""
    probes = make_probes(drain_delay=DELAY)
    member = probes.service.sigterm
    below = HandlerBelow(server.handle, Server("a server"))
    departing = Departure([member], below, queue.SimpleQueue(), hand_over=lambda: None)
    departing.add(member)
    assert departing._members == [member]
