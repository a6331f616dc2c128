"""What is known of one check: its last result, its run under way, what to publish of both."""

from __future__ import annotations

import logging
from contextvars import copy_context
from math import inf
from typing import TYPE_CHECKING

from probekit._core.excuse import Excuse
from probekit._core.model import CheckResult, Probe, Status
from probekit._core.outcome import Outcome, inconclusive
from probekit._core.threads import CheckThread
from probekit._core.verdict import Verdict

if TYPE_CHECKING:
    from probekit._core.check import Check
    from probekit._core.run import Run

__all__ = ["CheckState"]

logger = logging.getLogger("probekit")

BLOCKED = 0.1
"""Seconds for which a check may hold the loop before it is named for it."""


class CheckState:
    """The memory of one check.

    Attributes:
        check: The declaration.
        label: What its task and its thread are called.
        context: The context variables as they were where the check was declared: a run must not
            inherit those of the request that happened to start it.
        thread: The thread of a sync check.
        run: The run under way, or None.
        result: The last result, thresholds applied.
        attempted: When a run last ended or was found overdue (monotonic seconds).
        latched: Whether it is a startup check that has passed: it is not run again.
    """

    __slots__ = (
        "_excuse",
        "_good",
        "_verdict",
        "attempted",
        "check",
        "context",
        "label",
        "latched",
        "result",
        "run",
        "thread",
    )

    def __init__(self, check: Check) -> None:
        self.check = check
        self.label = f"probekit:{check.name}"
        self.context = copy_context()
        self.thread = CheckThread(self.label)
        self.run: Run | None = None
        self.result = CheckResult(
            name=check.name,
            probe=check.probe,
            status=Status.UNKNOWN,
            critical=check.critical,
            message="not yet run",
        )
        self.attempted = -inf
        self.latched = False
        self._excuse = Excuse()
        self._good: CheckResult | None = None
        self._verdict = Verdict(
            failure_threshold=check.failure_threshold, success_threshold=check.success_threshold
        )

    def fresh(self, now: float) -> bool:
        """Whether a probe at ``now`` is answered from what is known already."""
        return (
            now - self.attempted < self.check.max_age
            or self.check.interval is not None
            or self.latched
        )

    def recount(self, now: float) -> bool:
        """Whether a run that goes on and on is due to be counted as one more failure."""
        return now - self.attempted >= max(self.check.max_age, self.check.timeout)

    def record(
        self, outcome: Outcome, *, duration: float, now: float, wall: float, blocked: float
    ) -> CheckResult:
        """Take what a run came to into account and return the result that follows from it."""
        check, before = self.check, self.result
        if not outcome.conclusive:
            # As if it had not run: no threshold counts it, and whoever asks next asks again.
            known = before.duration is not None
            self.result = before._replace(message=outcome.message, stale=known, inconclusive=True)
            return self.result
        self.attempted = now
        if not outcome.could_run and (good := self._good) is not None:
            if now - good.at <= check.stale_after:
                self.result = good._replace(message=outcome.message, stale=True)
                return self.result
            self._verdict.fail()
        status = self._verdict.observe(outcome.status)
        self.result = result = CheckResult(
            check.name,
            check.probe,
            status,
            check.critical,
            outcome.message,
            outcome.detail or {},
            duration,
            now,
            wall if before.status is not status or before.since is None else before.since,
            self._verdict.failures,
            False,
            blocked if blocked >= BLOCKED else 0.0,
        )
        if outcome.status.passing:
            self._excuse.granted = 0
            self._good = result if check.on_error == "keep" else None
            self.latched = check.probe is Probe.STARTUP and status.passing
        else:
            self._good = None
        return result

    def weigh(self, timeout: Outcome, *, lost: float, now: float) -> Outcome:
        """Return what a timeout is worth if the loop stood still for ``lost`` seconds of it."""
        if self._excuse.grant(lost, timeout=self.check.timeout, now=now):
            return inconclusive(timeout, lost=lost)
        return timeout

    def timed_out(self, run: Run, now: float) -> Outcome:
        """Return the outcome of waiting for ``run`` in vain."""
        waited = f"timed out after {self.check.timeout:g} s"
        return Outcome(
            Status.UNHEALTHY,
            f"{waited}, still running for {now - run.started:.1f} s",
            could_run=False,
        )

    def warn_of_blocking(self, seconds: float) -> None:
        """Log that the check held the loop for so long."""
        logger.warning(
            "check %r (%s) held the event loop for %.0f ms: everything else stood still; await "
            "what it waits for, or make it a plain def, which runs on a thread of its own",
            self.check.name,
            self.check.where,
            seconds * 1000,
        )

    def view(self, now: float) -> tuple[CheckResult, float]:
        """Return what to publish at ``now``, and until when it holds if nothing happens."""
        check, result, run = self.check, self.result, self.run
        if run is not None and run.overdue:
            message = self.timed_out(run, now).message
            result = result._replace(message=message, duration=now - run.started)
            until = now
        elif self.latched:
            return result, inf
        elif check.interval is None:
            until = self.attempted + check.max_age
        else:
            until = inf
        if check.interval is None and (result.inconclusive or not result.stale):
            return result, until
        return self._aged(result, now, until)

    def _aged(self, result: CheckResult, now: float, until: float) -> tuple[CheckResult, float]:
        """Return the result, or what is left of it when it is too old to be believed."""
        limit = self.check.stale_after
        age = now - result.at
        if self.attempted == -inf or age <= limit:
            return result, min(until, result.at + limit)
        if result.stale and not result.inconclusive:
            return result._replace(status=Status.UNHEALTHY), until
        message = f"the last result is {age:.1f} s old, and stale after {limit:g} s"
        return result._replace(status=Status.UNKNOWN, message=message, stale=True), now
