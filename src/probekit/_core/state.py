"""What is known of one check: its last result, its run under way, what to publish of both."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from probekit._core.model import CheckResult, Probe, Status
from probekit._core.outcome import Outcome
from probekit._core.threads import CheckThread
from probekit._core.verdict import Verdict

if TYPE_CHECKING:
    from probekit._core.check import Check
    from probekit._core.run import Run

__all__ = ["CheckState"]

BLOCKED = 0.1
"""Seconds for which a check may hold the loop before it is named for it."""


class CheckState:
    """The memory of one check.

    Attributes:
        check: The declaration.
        context: The context variables as they were where the check was declared: a run must not
            inherit those of the request that happened to start it.
        thread: The thread of a sync check.
        run: The run under way, or None.
        result: The last result, thresholds applied.
        attempted: When a run last ended or was found overdue (monotonic seconds).
    """

    __slots__ = ("_good", "_verdict", "attempted", "check", "context", "result", "run", "thread")

    def __init__(self, check: Check) -> None:
        self.check = check
        self.context = copy_context()
        self.thread = CheckThread(check.name)
        self.run: Run | None = None
        self.result = CheckResult(
            name=check.name,
            probe=check.probe,
            status=Status.UNKNOWN,
            critical=check.critical,
            message="not yet run",
        )
        self.attempted = -inf
        self._good: CheckResult | None = None
        self._verdict = Verdict(
            failure_threshold=check.failure_threshold, success_threshold=check.success_threshold
        )

    @property
    def latched(self) -> bool:
        """Whether it is a startup check that has passed: it is not run again."""
        return self.check.probe is Probe.STARTUP and self.result.status.passing

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
        self, outcome: Outcome, *, duration: float, now: float, wall: float, blocked: float = 0.0
    ) -> CheckResult:
        """Take what a run came to into account and return the result that follows from it."""
        self.attempted = now
        if not outcome.could_run and (kept := self._kept(now)) is not None:
            self.result = replace(kept, message=outcome.message, stale=True)
            return self.result
        before = self.result
        status = self._verdict.observe(outcome.status)
        self.result = CheckResult(
            self.check.name,
            self.check.probe,
            status,
            self.check.critical,
            outcome.message,
            outcome.detail,
            duration,
            now,
            before.since if before.status is status and before.since is not None else wall,
            self._verdict.failures,
            False,
            blocked if blocked >= BLOCKED else 0.0,
        )
        if outcome.status.passing:
            self._good = self.result
        return self.result

    def timed_out(self, run: Run, now: float) -> Outcome:
        """Return the outcome of waiting for ``run`` in vain."""
        waited = f"timed out after {self.check.timeout:g} s"
        return Outcome(
            Status.UNHEALTHY,
            f"{waited}, still running for {now - run.started:.1f} s",
            could_run=False,
        )

    def view(self, now: float) -> CheckResult:
        """Return what to publish at ``now``."""
        result, run = self.result, self.run
        if run is not None and run.overdue:
            message = self.timed_out(run, now).message
            result = replace(result, message=message, duration=now - run.started)
        limit = self.check.stale_after
        if result.stale and now - result.at > limit:
            return replace(result, status=Status.UNHEALTHY, stale=True)
        if self.check.interval is not None and now - result.at > limit and self.attempted > -inf:
            age = now - result.at
            message = f"the last result is {age:.1f} s old, and stale after {limit:g} s"
            return replace(result, status=Status.UNKNOWN, message=message, stale=True)
        return result

    def valid_until(self, now: float) -> float:
        """Return until when `view` says the same if nothing happens."""
        if self.run is not None and self.run.overdue:
            return now
        if self.latched:
            return inf
        if self.attempted == -inf:
            return inf if self.check.interval is not None else now
        until = inf
        if self.check.interval is None:
            until = self.attempted + self.check.max_age
        if self.check.interval is not None or self.result.stale:
            until = min(until, self.result.at + self.check.stale_after)
        return max(until, now)

    def _kept(self, now: float) -> CheckResult | None:
        good = self._good
        if self.check.on_error != "keep" or good is None:
            return None
        return good if now - good.at <= self.check.stale_after else None
