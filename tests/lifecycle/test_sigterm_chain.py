"""SIGTERM where several stand in its way: two applications, or a handler of the application's."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

import pytest

from probekit import DrainStep, Observer
from tests.waiting import wait_until

from ._signals import DELAY, end, sigterm, started, state

if TYPE_CHECKING:
    from probekit import Drain, Probes

    from ._signals import StandIn


class Heard(Observer):
    """Remembers the drains that it was told of."""

    def __init__(self) -> None:
        self.drains: list[Drain | None] = []

    def on_drain(self, drain: Drain | None) -> None:
        """Hear of a drain."""
        self.drains.append(drain)


def begun(*several: Probes) -> bool:
    """Return whether all of them have been told of the drain."""
    return all(probes.service.steps.reached(DrainStep.BEGUN) for probes in several)


def put_above() -> None:
    """Install a handler as an application does that passes the signal on to the one before."""
    below = signal.getsignal(signal.SIGTERM)
    assert callable(below)
    signal.signal(signal.SIGTERM, lambda number, frame: below(number, frame))


# -- a handler of the application's own ---------------------------------------------------------


def test_a_handler_that_passes_the_signal_on_drains_first(server: StandIn) -> None:
    """An application's own handler on top that calls the one below it changes nothing."""
    probes = started()
    put_above()
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert server.arrived() - began >= DELAY
    end(probes)


def test_a_handler_that_passes_the_signal_on_reaches_the_server_after_the_end(
    server: StandIn,
) -> None:
    """What stands below it can be called for ever, and hands on what it gets."""
    probes = started()
    put_above()
    end(probes)
    sigterm()
    assert len(server.signals) == 1
    assert probes.draining is None


def test_an_application_lives_again_below_a_handler_of_its_own(server: StandIn) -> None:
    """It stands above and below that handler then, and the server gets the signal all the same."""
    probes = started()
    put_above()
    end(probes)
    probes.service.sigterm.arm()
    sigterm()
    assert state(probes) == [True]
    try:
        time.sleep(3 * DELAY)  # the handler runs in this thread, so an error of its comes out here
        assert len(server.signals) == 1
    finally:
        end(probes)


# -- two applications ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower_delay", "upper_delay"), [(0.15, 0.15), (0.1, 0.5), (0.5, 0.1)], ids=str
)
def test_two_applications_of_one_process_drain_at_the_same_time(
    lower_delay: float, upper_delay: float, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """One signal turns both at once, and comes once to the server after the longer delay."""
    caplog.set_level(logging.WARNING, "probekit")
    heard = Heard(), Heard()
    lower, upper = started(lower_delay, heard[0]), started(upper_delay, heard[1])
    longest = max(lower_delay, upper_delay)
    began = time.monotonic()
    sigterm()
    assert state(lower, upper) == [True, True]
    took = server.arrived() - began
    assert longest <= took < longest + 0.4
    assert server.once()
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert [each.drains for each in heard] == [[lower.draining], [upper.draining]]
    assert caplog.text.count("SIGTERM: draining") == 1
    plans = {
        f"drain for {delay:g} s (argument drain_delay)" for delay in (lower_delay, upper_delay)
    }
    assert f"the plan: {'; '.join(sorted(plans))}" in caplog.text
    assert caplog.text.count("handing the signal to") == 1
    end(upper, lower)


@pytest.mark.parametrize("delays", [(DELAY, 0.4), (0.4, DELAY)], ids=str)
@pytest.mark.parametrize("first", ["upper", "lower"])
def test_whichever_of_two_ends_during_the_drain_the_signal_is_handed_on(
    first: str, delays: tuple[float, float], server: StandIn
) -> None:
    """The one that goes on drains to the end of the longer delay, and the server gets one."""
    lower, upper = (started(delay) for delay in delays)
    began = time.monotonic()
    sigterm()
    wait_until(lambda: begun(lower, upper), "the drain is under way", patience=0.1)
    end(upper if first == "upper" else lower)
    assert server.signals == []
    assert server.arrived() - began >= max(delays)
    assert server.once()
    end(upper, lower)


@pytest.mark.parametrize("order", ["upper first", "lower first"])
def test_two_that_end_during_the_drain_leave_no_signal_behind(order: str, server: StandIn) -> None:
    """After both shutdowns the delay's end sends nothing, to nobody."""
    lower, upper = started(), started()
    sigterm()
    end(*((upper, lower) if order == "upper first" else (lower, upper)))
    time.sleep(3 * DELAY)
    assert server.signals == []
    sigterm()
    assert len(server.signals) == 1


@pytest.mark.parametrize("first", ["upper", "lower"])
def test_of_two_applications_either_may_end_before_the_signal(first: str, server: StandIn) -> None:
    """The other one drains, and the server gets the signal."""
    lower, upper = started(), started()
    ended, goes_on = (upper, lower) if first == "upper" else (lower, upper)
    end(ended)
    began = time.monotonic()
    sigterm()
    assert state(ended, goes_on) == [False, True]
    assert server.arrived() - began >= DELAY
    assert server.once()
    end(goes_on)


def test_a_second_signal_passes_both_at_once(server: StandIn) -> None:
    """Whoever insists is kept waiting by neither."""
    lower, upper = started(30), started(30)
    sigterm()
    time.sleep(1.1)
    assert server.signals == []
    sigterm()
    assert len(server.signals) == 1
    end(upper, lower)


def test_a_duplicate_passes_neither_of_two(server: StandIn) -> None:
    """The same signal again, within a second, is one signal for both."""
    lower, upper = started(30), started(30)
    for _ in range(3):
        sigterm()
    assert server.signals == []
    assert state(lower, upper) == [True, True]
    end(upper, lower)


def test_one_of_two_may_live_again_above_the_other(server: StandIn) -> None:
    """The lower one ends and starts anew: both drain, and the server gets one signal."""
    lower, upper = started(), started()
    end(lower)
    lower.service.sigterm.arm()
    try:
        sigterm()
        assert state(lower, upper) == [True, True]
        assert server.once()
    finally:
        end(lower, upper)


# -- three --------------------------------------------------------------------------------------


def test_three_drain_at_the_same_time(server: StandIn) -> None:
    """However many there are: all at once, after the longest delay, once."""
    several = started(0.4), started(0.8), started(0.6)
    began = time.monotonic()
    sigterm()
    assert state(*several) == [True] * 3
    took = server.arrived() - began
    assert 0.8 <= took < 1.7
    assert server.once()
    end(*several)


def test_when_the_upper_two_of_three_end_during_the_drain_the_signal_is_handed_on(
    server: StandIn,
) -> None:
    """The lowest one is still there, and its server waits for the signal."""
    lowest, middle, upper = started(), started(), started()
    sigterm()
    end(upper, middle)
    try:
        server.arrived()
    except TimeoutError:
        pytest.fail("the signal is lost")
    finally:
        end(lowest)


def test_when_the_middle_one_of_three_has_ended_the_others_drain_at_the_same_time(
    server: StandIn,
) -> None:
    """One that stands aside does not come between the others."""
    lowest, middle, upper = started(), started(), started()
    end(middle)
    sigterm()
    at_once = state(lowest, middle, upper)
    server.arrived()
    end(upper, lowest)
    assert at_once == [True, False, True]


def test_an_application_that_starts_during_the_drain_is_born_draining(server: StandIn) -> None:
    """The process is leaving, so nobody may send new work to a part of it that comes late."""
    early = started(30)
    sigterm()
    late = started(30)
    assert state(early, late) == [True, True]
    assert server.signals == []
    end(early, late)


def test_one_that_starts_during_the_drain_drains_as_long_as_it_needs(server: StandIn) -> None:
    """The signal waits for the longer delay, counted from its coming."""
    early = started(0.3)
    began = time.monotonic()
    sigterm()
    wait_until(lambda: begun(early), "the drain is under way", patience=0.2)
    late = started(0.6)
    assert state(late) == [True]
    assert server.arrived() - began >= 0.6
    assert server.once()
    end(early, late)


def test_the_drain_of_an_application_that_has_ended_is_not_that_of_the_next(
    server: StandIn,
) -> None:
    """When its time is up, the one that started meanwhile goes on as if nothing had been."""
    first = started()
    sigterm()
    end(first)
    second = started(30)
    time.sleep(3 * DELAY)
    assert server.signals == []
    assert state(second) == [False]
    end(second)
