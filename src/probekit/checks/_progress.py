"""That the jobs of a worker succeed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._core.seconds import refuse_count, refuse_seconds
from probekit.checks._limits import Complaint, complain, make_limits
from probekit.checks._window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit.checks._limits import Limits

__all__ = ["Progress"]


class Progress:
    """Prove that the jobs of a worker succeed.

    Call `success` or `failure` after every job. Three numbers have limits, each with one beyond
    which the check degrades and one beyond which it fails; without any limit it only counts.

    Args:
        window: Seconds over which the success rate is taken; it moves on by a sixtieth at a time.
        degrade_below: Degrade below this success rate, 0 to 1.
        fail_below: Fail below this success rate.
        min_outcomes: How many outcomes the window must hold before its rate counts: one failure in
            the night is not a rate of nought.
        degrade_failures: Degrade above so many failures in a row.
        max_failures: Fail above so many failures in a row; 0: from the first one on.
        degrade_idle: Degrade when the last success is more than so many seconds ago. Counted after
            the first one only, so that no worker is born failing. Only for work that never pauses:
            an empty queue looks the same.
        max_idle: Fail then.
        name: What the check is called unless it is registered under another name.
        clock: For tests: returns seconds that never go back.

    Raises:
        ConfigurationError: An argument makes no sense.

    Note:
        Thread-safe; a signal handler may call it, too. A forked child begins at zero.

    Example:
        ``probes.readiness(Progress(fail_below=0.5, max_failures=20), name="jobs")``
    """

    def __init__(
        self,
        *,
        window: float = 300.0,
        degrade_below: float | None = None,
        fail_below: float | None = None,
        min_outcomes: int = 10,
        degrade_failures: int | None = None,
        max_failures: int | None = None,
        degrade_idle: float | None = None,
        max_idle: float | None = None,
        name: str = "progress",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        refuse_seconds("Progress", "window", window)
        refuse_count("Progress", "min_outcomes", min_outcomes)
        self.name: str = name
        rate = ("degrade_below", degrade_below), ("fail_below", fail_below)
        self._rate: Limits = make_limits("Progress", *rate, upper=False, lowest=0, highest=1)
        in_a_row = ("degrade_failures", degrade_failures), ("max_failures", max_failures)
        self._in_a_row: Limits = make_limits("Progress", *in_a_row, upper=True, lowest=0)
        idle = ("degrade_idle", degrade_idle), ("max_idle", max_idle)
        self._idle: Limits = make_limits("Progress", *idle, upper=True, lowest=0)
        self._seconds = window
        self._min_outcomes = min_outcomes
        self._clock = clock
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Forget all that was counted."""
        # Reentrant: a signal handler, or a finalizer, may count while its own thread is counting.
        self._lock = threading.RLock()
        self._window = Window(self._seconds)
        self._successes = self._failures = self._failed_in_a_row = 0
        self._last_success: float | None = None

    def success(self, count: int = 1) -> None:
        """Count a job that succeeded, or a batch of them.

        Args:
            count: How many; 0 changes nothing.

        Raises:
            ConfigurationError: ``count`` is no whole number, or negative.
        """
        if (count != 1 or type(count) is not int) and not _counts("success", count):
            return
        with self._lock:
            now = self._clock()
            self._successes += count
            self._failed_in_a_row = 0
            self._last_success = now
            self._window.add(now, good=count)

    def failure(self, count: int = 1) -> None:
        """Count a job that failed, or a batch of them.

        Args:
            count: How many; 0 changes nothing.

        Raises:
            ConfigurationError: ``count`` is no whole number, or negative.
        """
        if (count != 1 or type(count) is not int) and not _counts("failure", count):
            return
        with self._lock:
            self._failures += count
            self._failed_in_a_row += count
            self._window.add(self._clock(), bad=count)

    def snapshot(self) -> dict[str, float]:
        """Return the numbers.

        ``successes`` and ``failures`` since the start, ``failures_in_a_row``; of the window
        ``recent_successes``, ``recent_failures`` and, unless both are 0, ``rate`` (0 to 1); after
        the first success ``idle`` (seconds since the last).
        """
        with self._lock:
            now = self._clock()
            good, bad = self._window.sums(now)
            numbers: dict[str, float] = {
                "successes": self._successes,
                "failures": self._failures,
                "failures_in_a_row": self._failed_in_a_row,
                "recent_successes": good,
                "recent_failures": bad,
            }
            last = self._last_success
        if good + bad:
            numbers["rate"] = good / (good + bad)
        if last is not None:
            numbers["idle"] = max(0.0, now - last)
        return numbers

    def __call__(self) -> dict[str, float]:
        """Run the check.

        Returns:
            The numbers of `snapshot`, rounded.

        Raises:
            Unhealthy: A number is beyond the limit at which it fails.
            Degraded: One is beyond the limit at which it degrades.
        """
        numbers = self.snapshot()
        detail = {name: round(value, 3) for name, value in numbers.items()}
        complain(self._complaints(numbers), detail)
        return detail

    def _complaints(self, numbers: dict[str, float]) -> list[Complaint]:
        found: list[Complaint] = []
        good, in_a_row = numbers["recent_successes"], numbers["failures_in_a_row"]
        outcomes = good + numbers["recent_failures"]
        if outcomes >= self._min_outcomes and (beyond := self._rate.crossed(numbers["rate"])):
            share = f"{good} of {outcomes} jobs succeeded in {self._seconds:g} s"
            found.append(Complaint(beyond[0], f"{share}, at least {100 * beyond[1]:g} % should"))
        if beyond := self._in_a_row.crossed(in_a_row):
            found.append(
                Complaint(beyond[0], f"failures in a row: {in_a_row}, at most {beyond[1]}")
            )
        if beyond := self._idle.crossed(idle := numbers.get("idle", 0.0)):
            text = f"no success for {idle:.1f} s, at most {beyond[1]:g} s"
            found.append(Complaint(beyond[0], text))
        return found


def _counts(method: str, count: object) -> bool:
    """Return whether there is anything to count."""
    remedy = "call it once for each job, or with the number of jobs"
    refuse_count(f"Progress.{method}", "count", count, least=0, remedy=remedy)
    return bool(count)
