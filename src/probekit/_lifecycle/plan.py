"""How long to go on serving after SIGTERM, and why so long."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

from probekit._core.seconds import is_seconds
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Plan", "make_plan"]

VARIABLE = "PROBEKIT_DRAIN_DELAY"
ORCHESTRATED_DELAY = 5.0
"""Seconds. An endpoint's removal reaches the proxies in 1 to 5 s on most clusters."""

ORCHESTRATORS = {
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
    "ECS_CONTAINER_METADATA_URI_V4": "Amazon ECS",
    "NOMAD_ALLOC_ID": "Nomad",
    "K_SERVICE": "Cloud Run",
    "FLY_ALLOC_ID": "Fly.io",
}
"""Variables that an orchestrator sets in every container."""


class Plan(NamedTuple):
    """How the process will leave.

    Attributes:
        drain_delay: Seconds between SIGTERM and its hand-over to the server.
        source: Where that number came from.
    """

    drain_delay: float
    source: str


def make_plan(drain_delay: float | None, environment: Mapping[str, str] | None = None) -> Plan:
    """Return the plan: the argument, the environment, the orchestrator seen, or no delay.

    Raises:
        ConfigurationError: If the argument or the variable is no number of seconds.
    """
    environment = os.environ if environment is None else environment
    if drain_delay is not None:
        return Plan(seconds("drain_delay", drain_delay), "argument drain_delay")
    if (value := environment.get(VARIABLE)) is not None:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        return Plan(seconds(VARIABLE, number, shown=value), f"variable {VARIABLE}")
    for variable, orchestrator in ORCHESTRATORS.items():
        if variable in environment:
            return Plan(ORCHESTRATED_DELAY, f"{orchestrator} seen")
    return Plan(0.0, "no orchestrator seen")


def seconds(name: str, value: object, *, shown: object = None) -> float:
    """Return ``value`` as a number of seconds, or refuse it."""
    if not is_seconds(value, zero=True):
        got = value if shown is None else shown
        raise ConfigurationError(
            f"{name} must be a number of seconds >= 0, got {got!r}; 0 hands SIGTERM on at once"
        )
    return float(value)
