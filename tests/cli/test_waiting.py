from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from probekit.cli._failures import CannotAsk, Failure, NoAnswer, Unwanted
from probekit.cli._state import State
from probekit.cli._waiting import BRIEFEST, PERIOD, wait

from ._peers import drain, state

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float, /) -> None:
        """Let it pass."""
        self.now += seconds


class Service:
    """A draining service that is, at each moment, what a plan says.

    Args:
        plan: What it is from so many seconds on: fields of the answer, or a failure to raise.
    """

    def __init__(self, plan: dict[float, dict[str, Any] | Failure]) -> None:
        self.clock = Clock()
        self.plan = plan
        self.told: list[str] = []
        self.within: list[float] = []

    def look(self, within: float) -> State:
        """Return the state of this moment."""
        self.within.append(within)
        passed = self.clock.now - 1000
        now = [what for since, what in self.plan.items() if since <= passed + 1e-6][-1]
        if isinstance(now, Failure):
            raise now
        fields = {"last_request": None, "seen_503": None} | json.loads(state(draining=drain()))
        return State(**fields | now, raw="")

    def wait(self, *, delay: float | None = 0, limit: float = 30) -> float:
        """Return how long was waited."""
        _, seconds = wait(
            self.look, delay=delay, limit=limit, clock=self.clock, tell=self.told.append
        )
        return seconds


BUSY = {"in_flight": {"requests": 2, "websockets": 1}}


def test_who_is_idle_is_not_waited_for() -> None:
    """Without a delay and without traffic there is nothing to wait for, and nothing to say."""
    service = Service({0: {}})
    assert service.wait() == 0
    assert service.told == []


@pytest.mark.parametrize(
    ("delay", "drain_delay", "expected"), [(None, 5.0, 5.0), (2.0, 5.0, 2.0), (0.0, 5.0, 0.0)]
)
def test_the_delay_is_waited_for(delay: float | None, drain_delay: float, expected: float) -> None:
    """The proxies are given the delay that was asked for, or the one that the service has."""
    service = Service({0: {"drain_delay": drain_delay}})
    assert service.wait(delay=delay) == pytest.approx(expected, abs=PERIOD)
    assert service.wait(delay=delay) >= expected


def test_what_is_in_flight_is_waited_for() -> None:
    """It returns when the last request has its response, and tells each change once."""
    service = Service({0: BUSY, 3: {"in_flight": {"requests": 1, "websockets": 0}}, 7: {}})
    assert service.wait() == pytest.approx(7, abs=PERIOD)
    assert service.told == [
        "after 0.0 s: in flight: requests 2, websockets 1",
        "after 3.0 s: in flight: requests 1, websockets 0",
    ]


def test_requests_that_still_come_are_waited_for() -> None:
    """A moment with nothing in flight is no end while requests come; a second without one is."""
    service = Service(
        {0: {"last_request": 0.0}, 1: BUSY | {"last_request": 0.9}, 4: {"last_request": 1.0}}
    )
    assert service.wait() == pytest.approx(4, abs=PERIOD)
    assert service.told == ["after 0.0 s: requests still come"]


def test_the_rest_of_the_delay_is_told() -> None:
    """Who reads along sees why nothing seems to happen."""
    service = Service({0: BUSY, 1: {}})
    service.wait(delay=2)
    assert service.told[1:] == ["after 1.0 s: nothing in flight, but the delay of 2 s is not over"]


@pytest.mark.parametrize("limit", [0.05, 1.0, 30.0])
def test_the_limit_ends_the_waiting(limit: float) -> None:
    """It gives up at the limit, and says what is still in flight."""
    service = Service({0: BUSY})
    with pytest.raises(Unwanted, match=f"not done after {limit:g} s .*: in flight: requests 2"):
        service.wait(limit=limit)
    assert service.clock.now - 1000 == pytest.approx(limit)


def test_the_last_look_is_taken_at_the_limit() -> None:
    """A delay as long as the limit can be met; each look has what is left of the limit."""
    service = Service({0: {}})
    assert service.wait(delay=1, limit=1) == pytest.approx(1)
    assert service.within[0] == 1
    assert service.within[-1] == BRIEFEST


def test_a_silent_service_is_asked_again() -> None:
    """No answer is no end: the loop may be busy with the very requests that are waited for."""
    service = Service({0: NoAnswer("no answer within 5 s"), 2: {}})
    assert service.wait() == pytest.approx(2, abs=PERIOD)
    assert service.told == ["after 0.0 s: no answer within 5 s"]


def test_a_service_that_stays_silent_is_given_up() -> None:
    """At the limit the last failure is what is told."""
    with pytest.raises(Unwanted, match=r"not done after 3 s .*: no answer within 5 s"):
        Service({0: NoAnswer("no answer within 5 s")}).wait(limit=3)


def test_a_service_that_has_gone_is_given_up_at_once() -> None:
    """Nobody knows what is in flight where nobody listens."""
    service = Service({0: BUSY, 2: CannotAsk("nobody listens")})
    with pytest.raises(CannotAsk, match=r"after 2.0 s of waiting: nobody listens"):
        service.wait()


def test_a_drain_that_ends_is_no_success() -> None:
    """When somebody ends the drain, or its lease is over, the traffic does not go."""
    service = Service({0: BUSY, 2: {"draining": None}})
    with pytest.raises(Unwanted, match="the drain has ended while waiting"):
        service.wait()


def test_time_is_not_lost_to_slow_answers() -> None:
    """What a look takes counts against the limit."""
    service = Service({0: BUSY})

    def slow(look: Callable[[float], State]) -> Callable[[float], State]:
        def slower(within: float) -> State:
            service.clock.sleep(within)
            return look(within)

        return slower

    with pytest.raises(Unwanted, match="not done after 5 s"):
        wait(slow(service.look), delay=0, limit=5, clock=service.clock, tell=service.told.append)
    assert service.within == [5]
