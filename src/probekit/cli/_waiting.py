"""Wait until the traffic of a draining process has really gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from probekit.cli._failures import CannotAsk, NoAnswer, Unwanted
from probekit.cli._text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit.cli._state import State

__all__ = ["Clock", "wait"]

PERIOD = 0.2
"""Seconds between two looks."""

QUIET = 1.0
"""Seconds without an ordinary request after which no more are expected."""

BRIEFEST = 0.1
"""Seconds that the last look has, however late it is."""


class Clock(Protocol):
    """The part of the module `time` that waiting needs; all in seconds."""

    def monotonic(self) -> float:
        """Return a number that grows with the time."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Return after so long."""
        ...


def wait(
    look: Callable[[float], State],
    *,
    delay: float | None,
    limit: float,
    clock: Clock,
    tell: Callable[[str], None],
) -> tuple[State, float]:
    """Return when a drain has done its work: the last state, and the seconds that it took.

    That is when the delay is over, nothing is in flight and no ordinary request came for `QUIET`.

    Args:
        look: Returns the state; may take so many seconds.
        delay: Seconds to wait at least, or None for the ``drain_delay`` of the service.
        limit: Seconds to wait at most.
        clock: The time.
        tell: Told in one line what is still waited for, whenever that changes.

    Raises:
        Unwanted: The limit is reached, or the drain was ended.
        CannotAsk: Nobody listens any more, or something else does.
    """
    began = clock.monotonic()
    told = ""
    while True:
        passed = clock.monotonic() - began
        try:
            state = look(max(limit - passed, BRIEFEST))
            obstacle = obstacle_of(state, passed, delay)
            if not obstacle:
                return state, passed
        except NoAnswer as failure:  # it may be busy with what is waited for
            obstacle = str(failure)
        except CannotAsk as failure:
            raise CannotAsk(f"after {passed:.1f} s of waiting: {failure}") from None
        if obstacle != told:
            told = obstacle
            tell(f"after {passed:.1f} s: {obstacle}")
        left = began + limit - clock.monotonic()
        if left <= 0:
            raise Unwanted(
                f"not done after {limit:g} s (--wait-timeout): {obstacle}; the drain goes on"
            )
        clock.sleep(min(PERIOD, left))


def obstacle_of(state: State, passed: float, delay: float | None) -> str:
    """Return what is still waited for, or nothing.

    Args:
        state: How the process is.
        passed: Seconds since it is known to drain.
        delay: As for `wait`.
    """
    if state.draining is None:
        raise Unwanted(
            "the drain has ended while waiting for the traffic to go: its lease is over, somebody "
            "ended it, or several workers answer, of which only one drains"
        )
    if state.last_request is not None and state.last_request < QUIET:
        return "requests still come"  # how many are in flight changes all the time
    if any(state.in_flight.values()):
        return f"in flight: {counted(state.in_flight)}"
    least = state.drain_delay if delay is None else delay
    return f"nothing in flight, but the delay of {least:g} s is not over" if passed < least else ""
