"""From one outcome to a status, and from many statuses to one: pure functions of their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probekit._core.model import Probe, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probekit._core.model import CheckResult

__all__ = ["Verdict", "aggregate"]

_SEVERITY = {Status.HEALTHY: 0, Status.DEGRADED: 1, Status.UNKNOWN: 2, Status.UNHEALTHY: 3}


class Verdict:
    """The status of one check after its thresholds.

    The thresholds count outcomes **in a row**: one success forgets every failure before it, and
    the other way round. Degraded is a success: the thing works.
    """

    __slots__ = ("_failure_threshold", "_success_threshold", "failures", "status", "successes")

    def __init__(self, *, failure_threshold: int, success_threshold: int) -> None:
        self._failure_threshold = failure_threshold
        self._success_threshold = success_threshold
        self.status = Status.UNKNOWN
        self.failures = 0
        self.successes = 0

    def observe(self, outcome: Status) -> Status:
        """Take one outcome into account and return the status that follows from it."""
        if outcome.passing:
            self.failures = 0
            self.successes += 1
            if self.successes >= self._success_threshold or self.status.passing:
                self.status = outcome
        else:
            self.successes = 0
            self.failures += 1
            if self.failures >= self._failure_threshold:
                self.status = Status.UNHEALTHY
        return self.status

    def fail(self) -> None:
        """Turn unhealthy whatever the threshold: what stood in for an outcome is gone."""
        self.status = Status.UNHEALTHY


def aggregate(probe: Probe, results: Iterable[CheckResult]) -> Status:
    """Return the worst critical status; what is not critical degrades and no more.

    A check that has not run yet says nothing against a living process, so liveness takes UNKNOWN
    for healthy.
    """
    worst = Status.HEALTHY
    for result in results:
        status = result.status
        if status is Status.HEALTHY:
            continue
        if status is Status.UNKNOWN and probe is Probe.LIVENESS:
            continue
        if not result.critical:
            status = Status.DEGRADED
        if _SEVERITY[status] > _SEVERITY[worst]:
            worst = status
    return worst
