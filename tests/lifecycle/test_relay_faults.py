"""A fault in the thread that times the drain: the server gets the signal all the same."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from probekit import Observer
from probekit._lifecycle import departure
from probekit._lifecycle.relay import RELAY
from tests.waiting import wait_until
from tests.web._asking import HeldClock, make_probes

from ._signals import DELAY, departing, end, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Drain, Probes

    from ._signals import StandIn, Twisted

FAILED = "SIGTERM: probekit failed to drain; handing the signal over now"


class BrokenClock(HeldClock):
    """A clock that raises in the thread that times the drain, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.disturbance = self.raise_if_broken

    def raise_if_broken(self) -> None:
        """Raise what nobody expects of a clock."""
        if self.broken and threading.current_thread().name == "probekit:sigterm":
            raise OSError("the clock stands still")


def with_clock(clock: HeldClock, **options: float) -> Probes:
    """Return Probes whose application has started, with one request in flight for ever."""
    probes = make_probes(clock, **options)
    probes.service.sigterm.arm()
    traffic = probes.service.traffic
    traffic.latest = clock.now
    traffic.requests["slow"] = {"method": "GET", "path": "/slow"}, clock.now
    return probes


def test_a_fault_amid_the_drain_hands_the_signal_over(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Better too soon than never; the log has the traceback."""
    clock = BrokenClock()
    probes = with_clock(clock, drain_delay=0.2)
    clock.broken = True
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    assert FAILED in caplog.text
    assert "OSError: the clock stands still" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == server.handle
    clock.broken = False
    end(probes)


def test_a_fault_after_the_hand_over_hands_nothing_over_again(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The server has had the signal, and what comes now would be a second one."""
    clock = BrokenClock()
    probes = with_clock(clock, drain_delay=0.05)
    sigterm()
    server.arrived()
    time.sleep(0.1)
    clock.broken = True
    wait_until(lambda: FAILED in caplog.text, "it fails", patience=7)
    time.sleep(DELAY)
    assert len(server.signals) == 1
    assert signal.getsignal(signal.SIGTERM) == server.handle
    clock.broken = False
    end(probes)


class Hanging(Observer):
    """Hears of a drain, and does not come back."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def on_drain(self, drain: Drain | None) -> None:
        """Hold up whoever tells it."""
        del drain
        self.release.wait(20)


LATE = "the drain has not come to its end in time"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Return an observer that hangs until the test is over."""
    observer = Hanging()
    yield observer
    observer.release.set()


def test_what_holds_up_the_thread_holds_up_no_signal(
    server: StandIn, hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    """An observer that hangs is left behind when the drain ought to have ended.

    What is in flight is no reason to wait for longer, since the server waits for it.
    """
    probes = started(0.1, hanging)
    enter(probes)
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert 0.1 <= server.arrived(10) - began < 0.1 + departure.SLACK + 2.0
    wait_until(lambda: LATE in caplog.text, "it is said")
    hanging.release.set()
    end(probes)
    assert len(server.signals) == 1


def test_where_nothing_is_in_flight_it_holds_up_no_hasty_server_either(
    hasty: Twisted, hanging: Hanging
) -> None:
    """There is nothing to linger for."""
    probes = started(0.1, hanging)
    began = time.monotonic()
    sigterm()
    assert hasty.arrived(10) - began < 0.1 + departure.SLACK + 2.0
    hanging.release.set()
    end(probes)
    assert len(hasty.signals) == 1


def test_what_a_server_would_cut_is_done_first_though_the_thread_is_held_up(
    hasty: Twisted, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it is, the signal is held back no longer."""
    monkeypatch.setattr(departure, "SLACK", 0.2)
    probes = started(0.1, hanging)
    enter(probes)
    sigterm()
    time.sleep(0.1 + 0.2 + 0.5)
    assert hasty.signals == []
    probes.service.traffic.requests.clear()
    done = time.monotonic()
    assert hasty.arrived(10) - done < 0.2 + 2.0
    hanging.release.set()
    end(probes)


def test_nothing_that_a_server_would_cut_is_waited_for_without_end(
    hasty: Twisted, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time, as if no thread were held up."""
    monkeypatch.setattr(departure, "ABANDON", 0.5)
    monkeypatch.setattr(departure, "SLACK", 0.2)
    probes = started(0.1, hanging, linger=0.5)
    enter(probes)
    began = time.monotonic()
    sigterm()
    assert 0.1 + 0.5 + 0.5 + 0.2 <= hasty.arrived(10) - began < 5
    hanging.release.set()
    end(probes)


def test_a_drain_that_gives_jobs_back_is_not_late(
    server: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in flight no more, but the process still has them."""
    monkeypatch.setattr(departure, "SLACK", 0.2)
    probes = started(0.1, linger=0.1)
    taken, release = threading.Event(), threading.Event()

    def take(_job: str) -> None:
        taken.set()
        release.wait(10)

    with probes.work("a", on_abandon=take):
        sigterm()
        assert taken.wait(10)
        time.sleep(0.2 + 0.5)
        assert server.signals == []
        release.set()
        server.arrived(10)
    end(probes)
    assert LATE not in caplog.text


def enter(probes: Probes) -> None:
    """Let a request be in flight."""
    traffic = probes.service.traffic
    traffic.requests["slow"] = {"method": "GET", "path": "/slow"}, traffic.clock()


def test_a_drain_that_has_handed_over_is_not_late(
    server: StandIn, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in flight may take its time then, and the server hears nothing twice."""
    monkeypatch.setattr(departure, "ABANDON", 0.0)
    monkeypatch.setattr(departure, "SLACK", 0.5)
    probes = started(0.1, linger=0.1)
    enter(probes)
    sigterm()
    server.arrived(10)
    wait_until(lambda: not limits(), "its time is over")
    probes.service.traffic.requests.clear()
    end(probes)
    assert LATE not in caplog.text
    assert len(server.signals) == 1


def limits() -> list[threading.Thread]:
    """Return the threads that watch the time of a drain."""
    return [each for each in threading.enumerate() if each.name == "probekit:sigterm-limit"]


def test_a_fault_leaves_the_thread_for_the_next_life(server: StandIn) -> None:
    """The application that comes back drains as ever."""
    before, clock = set(departing()), BrokenClock()
    for broken in (True, False):
        probes = make_probes(clock, drain_delay=DELAY, drain_until="quiet", quiet_for=0)
        probes.service.traffic.latest = clock.now
        probes.service.sigterm.arm()
        clock.broken = broken
        sigterm()
        assert server.once()
        server.signals.clear()
        end(probes)
    wait_until(lambda: set(departing()) <= before, "the threads have ended", patience=2)


def test_a_fault_in_what_it_is_asked_to_do_leaves_the_thread_at_its_post(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The signal must find it there."""

    def fail() -> None:
        raise OSError("no more threads")

    probes = started()
    RELAY.do(fail)
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    assert "probekit failed in the thread that waits for SIGTERM" in caplog.text
    end(probes)


def test_a_fault_in_what_it_is_asked_to_do_amid_the_drain_cuts_nothing_short(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The drain has its time, whatever else the thread is asked for meanwhile."""

    def fail() -> None:
        raise OSError("no more threads")

    probes = started(1.0)
    began = time.monotonic()
    sigterm()
    wait_until(lambda: "SIGTERM: draining" in caplog.text, "it drains")
    RELAY.do(fail)
    assert server.arrived(10) - began >= 1.0
    assert "probekit failed in the thread that waits for SIGTERM" in caplog.text
    assert FAILED not in caplog.text
    end(probes)


@pytest.mark.parametrize("what", ["begun", "farewell"])
def test_a_fault_in_what_one_application_tells_cuts_the_drain_of_none_short(
    what: str, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its own nor that of the others, who are told all the same."""

    def fail() -> None:
        raise OSError("nobody listens")

    first, second = started(0.5), started(0.5)
    told: list[float] = []
    setattr(first.service.sigterm, what, fail)
    setattr(second.service.sigterm, what, lambda: told.append(time.monotonic()))
    began = time.monotonic()
    sigterm()
    assert server.arrived(10) - began >= 0.5
    assert len(told) == 1
    assert "OSError: nobody listens" in caplog.text
    assert FAILED not in caplog.text
    end(first, second)


def test_a_second_signal_amid_a_fault_is_not_two(server: StandIn) -> None:
    """The thread hands nothing over that has been handed over."""
    clock = BrokenClock()
    hold = threading.Event()

    def wait_and_raise() -> None:
        hold.wait(3)
        clock.raise_if_broken()

    clock.disturbance = lambda: in_departure(wait_and_raise)
    probes = with_clock(clock, drain_delay=0.1)
    clock.broken = True
    sigterm()
    time.sleep(0.2)
    sigterm()
    assert len(server.signals) == 1
    hold.set()
    assert server.once()
    end(probes)


def in_departure(action: Callable[[], object]) -> None:
    """Do something if this is the thread that times the drain."""
    if threading.current_thread().name == "probekit:sigterm":
        action()


def test_an_application_that_ends_just_before_the_drain_begins_is_left_alone(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread hears of the signal when the handler has been put back."""
    before, hold = set(departing()), threading.Event()
    probes = started()
    RELAY.do(hold.wait)
    sigterm()
    end(probes)
    hold.set()
    wait_until(lambda: set(departing()) <= before, "the thread has ended", patience=2)
    time.sleep(DELAY)
    assert server.signals == []
    assert "SIGTERM: draining" not in caplog.text


def test_a_second_signal_before_the_thread_has_heard_of_the_first_needs_no_drain(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """It has been handed over already when it looks."""
    before, hold = set(departing()), threading.Event()
    probes = started(0.05)
    RELAY.do(hold.wait)
    sigterm()
    time.sleep(0.1)
    sigterm()
    assert len(server.signals) == 1
    hold.set()
    end(probes)
    wait_until(lambda: set(departing()) <= before, "the thread has ended", patience=2)
    assert len(server.signals) == 1
    assert "handing the signal" not in caplog.text


def test_where_no_thread_can_be_started_it_says_so(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application starts all the same, and the signal stays the server's."""

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    probes = make_probes(drain_delay=DELAY)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        probes.service.sigterm.arm()
    assert probes.sigterm.startswith("unsupported: no thread could be started: can't start new")
    sigterm()
    assert len(server.signals) == 1
    RELAY.forget()
