"""SIGTERM means: turn unready, go on serving, and only then hand the signal to the server."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING

from probekit._lifecycle import main_thread
from probekit._lifecycle.relay import RELAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.below import Below
    from probekit._lifecycle.drain import DrainSwitch
    from probekit._lifecycle.evidence import Evidence
    from probekit._lifecycle.jobs import Jobs
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.steps import Steps
    from probekit._lifecycle.traffic import Traffic

__all__ = ["Sigterm"]

logger = logging.getLogger("probekit")

REMEDY = "run `probekit drain --wait` before it comes, in Kubernetes as preStop hook"
CHECKED_EVERY = 1.0
"""Seconds between two looks whether somebody has put a handler of his own above ours."""


class Sigterm:
    """What SIGTERM means to one application.

    Args:
        switch: What to turn.
        plan: How to leave.
        traffic: What is in flight.
        evidence: What probers and traffic show.
        steps: How far it has come.
        begun: Told, from a thread, that the signal turned the switch.
        farewell: Called, from a thread, when the signal is handed over.
        jobs: What becomes of the jobs in flight.
    """

    def __init__(
        self,
        *,
        switch: DrainSwitch,
        plan: Plan,
        traffic: Traffic,
        evidence: Evidence,
        steps: Steps,
        begun: Callable[[], None],
        farewell: Callable[[], None],
        jobs: Jobs,
    ) -> None:
        self._switch = switch
        self.plan: Plan = plan
        self.traffic: Traffic = traffic
        self.evidence: Evidence = evidence
        self.steps: Steps = steps
        self.begun: Callable[[], None] = begun
        self.farewell: Callable[[], None] = farewell
        self.jobs: Jobs = jobs
        self._came = False
        self._wanted = False
        self._status = "not armed: the application has not started"
        self._checked = 0.0
        if plan.drain_delay > 0:
            main_thread.prepare()

    @property
    def status(self) -> str:
        """Whether the signal will drain first, or why not, or that it came."""
        return "came: the process is leaving" if self._came else self._status

    def arm(self, *, without_delay: bool = False) -> None:
        """Take the signal over, if anybody may.

        Args:
            without_delay: Do so even if the plan has none: something else will want to end first.
        """
        if RELAY.includes(self):
            return
        if self.plan.drain_delay == 0 and not without_delay:
            self._status = f"off: drain_delay is 0 ({self.plan.source})"
            logger.info("SIGTERM will not drain first: %s", self._status)
        elif (obstacle := platform_obstacle()) is not None:
            self._announce(obstacle)
        else:
            self._wanted = True
            self._take_over()

    def _take_over(self) -> None:
        try:
            RELAY.prepare()
        except RuntimeError as error:
            self._announce(f"no thread could be started: {error}")
            return
        if main_thread.is_current():
            self._announce(RELAY.join(self))
            return
        self._status = "not armed: the main thread has not come round to it"
        if not main_thread.ask(self._join):
            self._announce("the application does not run in the main thread")

    def check(self, now: float) -> None:
        """Look whether the signal would still come here first, and see to it; not too often.

        Args:
            now: Monotonic seconds.
        """
        if now - self._checked < CHECKED_EVERY:
            return
        self._checked = now
        if RELAY.includes(self) and RELAY.is_covered():
            if main_thread.is_current():
                self._announce(RELAY.take())
            else:
                main_thread.ask(self._retake)

    def disarm(self) -> None:
        """Let the signal go its own way again."""
        self._wanted = False
        if RELAY.includes(self):
            self._status = "not armed: the lifespan has ended"
            RELAY.leave(self)

    def turn(self) -> None:
        """Turn unready for good; called in a signal handler."""
        self._came = True
        self._switch.finish(reason="SIGTERM")

    def _join(self) -> None:
        if self._wanted:  # it may have ended before the main thread came round to it
            below = RELAY.join(self)
            RELAY.do(lambda: self._announce(below))  # a signal handler must not log

    def _retake(self) -> None:
        below = RELAY.take()
        RELAY.do(lambda: self._announce(below))

    def _announce(self, below: Below | str) -> None:
        """Log, once, what SIGTERM will do."""
        if isinstance(below, str):
            before, self._status = self._status, f"unsupported: {below}; {REMEDY}"
            if self._status != before:
                logger.warning("SIGTERM will not drain first: %s", self._status)
            RELAY.dismiss()
            return
        self._status = "armed"
        plan, server = self.plan, below.server
        # A block that is served is a worker's, whatever it has declared.
        jobs = self.jobs.expected or bool(self.traffic.blocks)
        logger.info(
            "on SIGTERM: %s, then %s; the grace period must be longer than %s",
            plan,
            "it ends the process" if server.nobody else f"hand it to {server}",
            server.budget(plan, jobs=jobs, attended=self.jobs.attended),
        )
        if plan.drain_until == "quiet" and not self.traffic.counted:
            logger.warning(
                "SIGTERM: drain_until='quiet' has no effect: ProbeMiddleware alone sees ordinary "
                "requests, and it is not in use; draining for %g s",
                plan.drain_delay,
            )
        if server.counts_the_drain and server.limit is not None and server.limit <= plan.longest:
            logger.warning(
                "SIGTERM: %s kills its workers %g s after its own SIGTERM, amid a drain of up to "
                "%g s: raise %s above that and the longest request, or lower %s",
                server.name,
                server.limit,
                plan.longest,
                server.option,
                "drain_max" if plan.drain_until == "quiet" else "drain_delay",
            )


def platform_obstacle() -> str | None:
    """Say why nobody could take SIGTERM over in this process, or None."""
    if not hasattr(signal, "pthread_kill"):
        return "Windows sends no SIGTERM that could be held back"
    if "uwsgi" in sys.modules:  # only inside the server there is such a module
        return "uWSGI handles SIGTERM outside Python"
    return None
