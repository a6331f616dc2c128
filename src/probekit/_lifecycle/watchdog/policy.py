"""When a process counts as stuck, and what is done about it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict, Unpack, get_args

from probekit._core.seconds import refuse_count, refuse_seconds
from probekit.exceptions import ConfigurationError

__all__ = ["OnStuck", "Policy", "WatchOptions", "make_policy"]

OnStuck = Literal["report", "exit"]

SHORTEST = 0.5
"""Seconds. What is shorter cannot be told from a busy machine."""


class WatchOptions(TypedDict, total=False):
    """What `probekit.Probes` takes to say when it is stuck; see there."""

    stuck_after: float | None
    on_stuck: OnStuck
    exits_per_hour: int


class Policy(NamedTuple):
    """When a process counts as stuck, and what is done about it.

    Attributes:
        stuck_after: Seconds without a sign of life; None: nobody watches.
        on_stuck: ``"report"``: say so; ``"exit"``: end the process as well, for the server to
            start another.
        exits_per_hour: How often that may happen to all workers of a server together.
    """

    stuck_after: float | None = 5.0
    on_stuck: OnStuck = "report"
    exits_per_hour: int = 3


def make_policy(**options: Unpack[WatchOptions]) -> Policy:
    """Return what the options say.

    Raises:
        ConfigurationError: If one makes no sense.
    """
    policy = Policy(**options)
    after = policy.stuck_after
    if after is not None:
        remedy = "None means no watchdog"
        refuse_seconds("Probes", "stuck_after", after, least=SHORTEST, remedy=remedy)
    if policy.on_stuck not in get_args(OnStuck):
        raise ConfigurationError(
            f"Probes: on_stuck must be 'report' or 'exit', got {policy.on_stuck!r}"
        )
    if policy.on_stuck == "exit" and after is None:
        raise ConfigurationError(
            "Probes: on_stuck='exit' needs a watchdog; give stuck_after a number of seconds"
        )
    remedy = "on_stuck='report' ends nobody"
    refuse_count("Probes", "exits_per_hour", policy.exits_per_hour, remedy=remedy)
    return policy
