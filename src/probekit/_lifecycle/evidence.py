"""Whether the probers have been told, and whether the traffic has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.traffic import Traffic

__all__ = ["Evidence"]

PROBERS_TOLD_APART = 100
"""Addresses; whoever else asks is counted together with the others that came too late."""


class Evidence:
    """What was seen of the probers and of the traffic since the drain began.

    Args:
        plan: How much evidence is enough.
        traffic: When the last request came.
    """

    def __init__(self, *, plan: Plan, traffic: Traffic) -> None:
        self._plan = plan
        self._traffic = traffic
        self._seen: dict[str | None, int] = {}

    def saw_503(self, prober: str | None) -> None:
        """Note that ``prober``, an address, was told that the process is not ready."""
        if prober not in self._seen and len(self._seen) >= PROBERS_TOLD_APART:
            prober = None
        self._seen[prober] = self._seen.get(prober, 0) + 1

    def forget(self) -> None:
        """Begin anew: the drain has ended."""
        self._seen = {}

    @property
    def seen_503(self) -> int:
        """How many 503s the prober that asked most often has seen in this drain."""
        return max(self._seen.copy().values(), default=0)

    def told(self, elapsed: float) -> bool:
        """Whether a prober knows, or had the time to; ``elapsed`` in seconds since the signal."""
        return self.seen_503 >= self._plan.seen_503 or elapsed >= self._plan.drain_delay

    def quiet(self, elapsed: float) -> bool:
        """Whether no request has come for long enough, in this drain; see `told`."""
        since = self._traffic.since_latest()
        since = elapsed if since is None else min(since, elapsed)
        return since >= self._plan.quiet_for

    def enough(self, elapsed: float) -> bool:
        """Whether the signal may be handed over; see `told`."""
        if self._plan.drain_until == "delay" or not self._traffic.counted:
            return elapsed >= self._plan.drain_delay
        if elapsed >= self._plan.drain_max:
            return True
        return self.told(elapsed) and self.quiet(elapsed)

    def __str__(self) -> str:
        """Say what was seen, for the log."""
        times = {0: "", 1: " once", 2: " twice"}.get(self.seen_503, f" {self.seen_503} times")
        told = f"{'a' if times else 'no'} prober has seen 503{times}"
        since = self._traffic.since_latest()
        last = (
            "no request ever came" if since is None else f"the last request came {since:.1f} s ago"
        )
        return f"{told}, {last}"
