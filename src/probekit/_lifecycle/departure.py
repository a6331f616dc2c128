"""What happens between SIGTERM and the end, in order; told and timed from a thread."""

from __future__ import annotations

import logging
import queue
import time
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from probekit._core.model import DrainStep
from probekit._lifecycle.jobs import ABANDON, ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probekit._lifecycle.below import Below
    from probekit._lifecycle.evidence import Evidence
    from probekit._lifecycle.jobs import Jobs
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.steps import Steps
    from probekit._lifecycle.traffic import Traffic

__all__ = ["Departure", "Event", "Events", "Traveller", "run_errand"]

logger = logging.getLogger("probekit")


class Event(Enum):
    """What a signal handler tells the thread."""

    CAME = "the signal came"
    RELEASED = "it has been handed over"


Events: TypeAlias = "queue.SimpleQueue[Event | Callable[[], object] | None]"
"""What the thread hears: an event, something to do, or None: stop."""

LOOKED_EVERY = 0.05
"""Seconds between two looks at the traffic."""
BEFORE_THE_LIMIT = 0.5
"""Seconds before the server cuts what is in flight, when there is still time to name it."""
SLACK = 1.0
"""Seconds that a drain may take beyond all that it waits for."""
LONG = 2.0
"""Seconds after the hand-over that are worth a line in the log where no limit is known."""


class Traveller(Protocol):
    """An application that leaves when the signal comes."""

    plan: Plan
    traffic: Traffic
    evidence: Evidence
    steps: Steps
    jobs: Jobs

    def turn(self) -> None:
        """Turn unready; called in a signal handler."""
        ...

    def begun(self) -> None:
        """Tell everybody; called from the thread, soon after."""
        ...

    def farewell(self) -> None:
        """Tell those to go who would stay for ever; called from the thread at hand-over."""
        ...


class Departure:
    """One departure of all the applications of the process.

    Args:
        members: Who leaves.
        below: What gets the signal.
        events: What happens meanwhile.
        hand_over: Sends the signal again.
    """

    def __init__(
        self,
        members: Iterable[Traveller],
        below: Below,
        events: Events,
        *,
        hand_over: Callable[[], object],
    ) -> None:
        # Its own list: who leaves meanwhile still has traffic to look at, and an application that
        # starts when these have ended has nothing to do with it.
        self._members = list(members)
        self._below = below
        self._events = events
        self._hand_over = hand_over
        self._began = time.monotonic()
        self._needed = self._began
        self._released = False
        self._stopped = False

    def add(self, member: Traveller) -> None:
        """Take somebody along who came in late."""
        if member not in self._members:
            self._members.append(member)

    def left(self) -> float:
        """Return the seconds until the next look at it; none if the signal ought to be handed over.

        Its own thread may hang, so another one asks.
        """
        plans = [member.plan for member in tuple(self._members)]
        drained = self._began + max((plan.longest for plan in plans), default=0.0)
        now = time.monotonic()
        if now < drained:
            return drained - now
        # What may still be waited for is no reason to wait where there is none of it: the grace
        # period has room for the drain, and perhaps for no more.
        if self._is_waited_for():
            self._needed = now
        linger = max((plan.linger for plan in plans), default=0.0)
        until = min(max(drained, self._needed), drained + linger + ABANDON)
        return min(LOOKED_EVERY, until + SLACK - now)

    def run(self) -> None:
        """Go through all the steps; return when nothing is in flight or the application ends."""
        for member in tuple(self._members):
            run_errand(member.begun)
        logger.warning(
            "SIGTERM: draining; readiness answers 503, and everything %s; the plan: %s",
            self._what_goes_on(),
            "; ".join(sorted({str(member.plan) for member in self._members})),
        )
        self._wait_for(self._drained)
        if self._stopped:
            return
        self._say_farewell()
        self._linger()
        if not self._released and not self._stopped:
            self._hand_over()
        self._watch()

    def _drained(self) -> bool:
        elapsed = time.monotonic() - self._began
        for member in tuple(self._members):
            evidence, steps = member.evidence, member.steps
            if not steps.reached(DrainStep.TOLD) and evidence.told(elapsed):
                steps.reach(DrainStep.TOLD, f"{evidence}, {elapsed:.1f} s after SIGTERM")
            if steps.reached(DrainStep.TOLD) and evidence.quiet(elapsed):
                steps.reach(DrainStep.QUIET, f"{evidence}, {elapsed:.1f} s after SIGTERM")
        return all(member.evidence.enough(elapsed) for member in tuple(self._members))

    def _linger(self) -> None:
        if self._released or not self._would_be_cut():
            return
        until = time.monotonic() + self._longest_linger()
        self._wait_for(lambda: not self._would_be_cut() or time.monotonic() >= until)
        if self._stopped:
            return
        if not self._released:
            self._give_back()
        if self._has_ended():
            return
        logger.warning(
            "SIGTERM: %s; in flight: %s", self._what_comes(), self._in_flight() or "nothing"
        )

    def _has_ended(self) -> bool:
        return self._stopped  # asked anew: type checkers take it for what it was

    def _would_be_cut(self) -> bool:
        """Whether something is in flight that nobody waits for once the signal is handed over."""
        if not self._below.server.waits:
            return not self._idle()
        return any(self._unattended(member) for member in tuple(self._members))

    def _is_waited_for(self) -> bool:
        """Whether the hand-over has something to wait for, once drained; from any thread."""
        # What is being given back is in flight no more.
        return self._would_be_cut() or any(
            unsettled(member.jobs) for member in tuple(self._members)
        )

    def _unattended(self, member: Traveller) -> bool:
        # A lifespan that ends waits for its jobs; WSGI has none, and its servers know of no job.
        return bool(member.traffic.jobs) and not member.jobs.attended

    def _give_back(self) -> None:
        """Give back the jobs that the signal would cut; the next signal cuts this, too."""
        members = tuple(self._members)
        if self._below.server.waits:
            members = tuple(member for member in members if self._unattended(member))
        until = time.monotonic() + ABANDON
        for _ in range(ROUNDS):
            for member in members:
                member.jobs.abandon()
            self._wait_for(
                lambda: (
                    not any(unsettled(each.jobs) for each in members) or time.monotonic() >= until
                )
            )
            if self._released or self._stopped:
                return
        for member in members:
            member.jobs.give_up()

    def _longest_linger(self) -> float:
        return max(member.plan.linger for member in self._members)

    def _what_goes_on(self) -> str:
        server = self._below.server
        if server.nobody:
            return "goes on as before until the signal ends the process"
        return f"is served as before until {server.name} gets the signal"

    def _what_comes(self) -> str:
        server = self._below.server
        if server.nobody:
            ends = "a second signal ends" if self._released else "letting the signal end"
            return f"{ends} the process"
        goes = "a second signal goes straight" if self._released else "handing the signal"
        return f"{goes} to {server.name}"

    def _what_is_first(self) -> str:
        server = self._below.server
        if server.waits:
            return f"{server.name} knows of no jobs, so those in flight are done first"
        if self._named():
            return f"{server.name} waits for nothing, so what is in flight is done first"
        return "waiting for the worker to leave its loop"

    def _say_farewell(self) -> None:
        what = self._what_comes()
        if self._would_be_cut() and not self._released:
            what = f"drained; {self._what_is_first()}, within {self._longest_linger():g} s;"
        logger.warning(
            "SIGTERM: %s after %.1f s: %s; in flight: %s",
            what,
            time.monotonic() - self._began,
            "; ".join(sorted({str(member.evidence) for member in self._members})),
            self._in_flight() or "nothing",
        )
        for member in tuple(self._members):
            member.steps.reach(DrainStep.HANDED_OVER, f"to {self._below.server}")
            run_errand(member.farewell)

    def _watch(self) -> None:
        handed_over = time.monotonic()
        limit = self._below.server.time_left(handed_over - self._began)
        named_at = handed_over + (LONG if limit is None else max(0.0, limit - BEFORE_THE_LIMIT))
        self._wait_for(lambda: self._idle() or time.monotonic() >= named_at, whatever=True)
        if not self._idle() and not self._stopped:
            logger.warning(
                "SIGTERM: still in flight %.1f s after the hand-over%s: %s",
                time.monotonic() - handed_over,
                f", and {self._below.server} cuts it" if limit is not None and self._cut() else "",
                self._in_flight(),
            )
            self._wait_for(self._idle, whatever=True)
        if self._idle():
            for member in tuple(self._members):
                after = time.monotonic() - handed_over
                member.steps.reach(DrainStep.DONE, f"{after:.1f} s after the hand-over")
        elif named := self._named():
            logger.warning("SIGTERM: the application ends with this in flight: %s", named)

    def _idle(self) -> bool:
        return all(member.traffic.idle() for member in tuple(self._members))

    def _cut(self) -> bool:
        """Whether the server's limit ends any of it: it knows of no job."""
        if self._below.server.counts_the_drain:
            return True  # SIGKILL spares none
        traffics = [member.traffic for member in tuple(self._members)]
        return any(traffic.requests or traffic.websockets for traffic in traffics)

    def _in_flight(self) -> str:
        """Name what is waited for."""
        blocks = any(member.traffic.blocks for member in tuple(self._members))
        return self._named() or ("the worker's loop" if blocks else "")

    def _named(self) -> str:
        return ", ".join(filter(None, (str(member.traffic) for member in tuple(self._members))))

    def _wait_for(self, condition: Callable[[], bool], *, whatever: bool = False) -> None:
        """Return when the condition holds or the application ends.

        Args:
            condition: Is asked every so often.
            whatever: Go on although the signal has been handed over.
        """
        while not self._stopped and (whatever or not self._released):
            met = condition()
            try:  # even then: it may be met because the application has ended
                event = self._events.get(block=not met, timeout=LOOKED_EVERY)
            except queue.Empty:
                if met:
                    return
                continue
            if event is None:
                self._stopped = True
                self._events.put(None)  # it is meant for the thread as well
            elif event is Event.RELEASED:
                self._released = True
            elif not isinstance(event, Event):
                run_errand(event)


def run_errand(errand: Callable[[], object]) -> None:
    """Do what the thread that waits for SIGTERM is asked to do."""
    try:
        errand()
    except Exception:  # whatever it was, the signal must still be handed over, and in its time
        logger.exception("probekit failed in the thread that waits for SIGTERM")


def unsettled(jobs: Jobs) -> bool:
    """Whether jobs are being given back, by the end of the application perhaps."""
    return jobs.ending or not jobs.given_back()
