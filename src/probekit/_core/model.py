"""The vocabulary: what a probe asks and what an answer says."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NO_DETAIL", "CheckResult", "Drain", "DrainStep", "Probe", "Report", "Status"]

NO_DETAIL: Mapping[str, Any] = MappingProxyType({})


class Probe(StrEnum):
    """The question that the platform asks."""

    LIVENESS = "liveness"
    """Is the process itself alive? A failure restarts the container."""
    READINESS = "readiness"
    """May new work be sent? A failure takes the process out of rotation, nothing else."""
    STARTUP = "startup"
    """Has it started? A failure gives it more time."""


class Status(StrEnum):
    """How a check, or a whole report, is."""

    HEALTHY = "healthy"
    """All is well."""
    DEGRADED = "degraded"
    """It works, but not as it should; it stays in service."""
    UNKNOWN = "unknown"
    """Not yet run, or the last result is too old to be believed."""
    UNHEALTHY = "unhealthy"
    """It does not work."""

    @property
    def passing(self) -> bool:
        """Whether this status keeps the process in service: healthy or degraded."""
        return self is Status.HEALTHY or self is Status.DEGRADED


class CheckResult(NamedTuple):
    """What one check says, as published.

    Attributes:
        name: The check's name, unique within its probe.
        probe: The probe that the check belongs to.
        status: The status after the thresholds were applied.
        critical: Whether a failure of this check fails the probe.
        message: A sentence for the operator, or None where there is nothing to say.
        detail: Values that JSON can express.
        duration: Seconds that the run took, or None if the check has not run.
        at: When the result came, on the clock of `Probes` (monotonic seconds).
        since: When the status last changed (seconds since the epoch), or None if it never was set.
        failures: How many runs failed in a row; a threshold may not have been reached yet.
        stale: Whether this is an older result that stands in for one that could not be had.
        blocked: Seconds for which the check held up the event loop in one go, 0.0 if it did not.
        inconclusive: Whether the last attempt says nothing, since the event loop stood still
            meanwhile: this is the result before it.
    """

    name: str
    probe: Probe
    status: Status
    critical: bool = True
    message: str | None = None
    detail: Mapping[str, Any] = NO_DETAIL
    duration: float | None = None
    at: float = 0.0
    since: float | None = None
    failures: int = 0
    stale: bool = False
    blocked: float = 0.0
    inconclusive: bool = False

    def age(self, now: float) -> float:
        """Return how many seconds old this result is at ``now`` (monotonic seconds)."""
        return max(0.0, now - self.at)


class Drain(NamedTuple):
    """Why, by whom and for how long the process is out of service.

    Attributes:
        since: When it began, in seconds since the epoch.
        reason: What the operator wrote, may be empty.
        by: Who began it, may be empty.
        until: When it ends by itself, in seconds since the epoch, or None.
        final: Whether SIGTERM began it, so that nothing ends it.
    """

    since: float
    reason: str = ""
    by: str = ""
    until: float | None = None
    final: bool = False


class DrainStep(StrEnum):
    """The steps of leaving, in their order.

    Every drain has the first; the others follow SIGTERM. A step that nobody could see, for want of
    a prober for instance, counts as reached with the next.
    """

    BEGUN = "begun"
    """Readiness answers 503; everything is served as before."""
    TOLD = "told"
    """A prober has seen that often enough, or had the time to."""
    QUIET = "quiet"
    """No new request has come for a while."""
    HANDED_OVER = "handed over"
    """The server has the signal and takes no more connections; one that would cut what is in flight
    gets it as soon as that is done."""
    DONE = "done"
    """Nothing is in flight any more."""
    CLOSED = "closed"
    """The application's lifespan has ended; its resources are closed."""


class Report(NamedTuple):
    """The answer to one probe.

    Attributes:
        probe: The question.
        status: The worst critical result; a failing non-critical check degrades.
        checks: The result of each check by name, in the order of registration.
        draining: The drain under way, or None.
        message: What beside the checks decided the status, or None.
        warnings: What was odd about the question, such as an unknown name in ``?exclude=``.
        at: When the report was made (monotonic seconds).
        valid_until: Until when the same question has the same answer if nothing happens
            (monotonic seconds); equal to ``at`` if the answer must not be reused.
    """

    probe: Probe
    status: Status
    checks: Mapping[str, CheckResult]
    draining: Drain | None = None
    message: str | None = None
    warnings: tuple[str, ...] = ()
    at: float = 0.0
    valid_until: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether the probe is answered with 200."""
        return self.status.passing
