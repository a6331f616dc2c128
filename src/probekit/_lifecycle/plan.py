"""How the process will leave after SIGTERM, and why so."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, Unpack

from probekit._core.seconds import refuse_count, refuse_seconds
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DrainOptions", "Plan", "make_plan"]

WHERE = "Probes"

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

DEFAULT_DRAIN_MAX = 15.0
"""Seconds: half of the 30 that Kubernetes grants by default; the rest is the server's."""


class DrainOptions(TypedDict, total=False):
    """What `probekit.Probes` takes to say how a drain ends; see there."""

    drain_until: Literal["delay", "quiet"]
    seen_503: int
    quiet_for: float
    drain_max: float | None
    linger: float
    close_websockets: bool


class Plan(NamedTuple):
    """How the process will leave. All times are in seconds.

    Attributes:
        drain_delay: Between SIGTERM and its hand-over to the server.
        source: Where that number came from.
        drain_until: ``"delay"``, or ``"quiet"``: hand over by evidence.
        seen_503: How many 503s a prober must have seen before quiet counts.
        quiet_for: For how long no ordinary request must have come.
        drain_max: When the evidence is waited for no longer.
        linger: How long to wait for what is in flight where no server does.
        close_websockets: Whether open WebSockets are told to go at hand-over.
    """

    drain_delay: float
    source: str
    drain_until: Literal["delay", "quiet"] = "delay"
    seen_503: int = 2
    quiet_for: float = 1.0
    drain_max: float = DEFAULT_DRAIN_MAX
    linger: float = 20.0
    close_websockets: bool = False

    @property
    def longest(self) -> float:
        """Seconds after which the signal is handed over in any case."""
        return self.drain_max if self.drain_until == "quiet" else self.drain_delay

    def __str__(self) -> str:
        """Say it in the words of the log."""
        if self.drain_until == "delay":
            return f"drain for {self.drain_delay:g} s ({self.source})"
        return (
            f"drain until no request has come for {self.quiet_for:g} s, once a prober has seen 503 "
            f"{self.seen_503} times or {self.drain_delay:g} s have passed ({self.source}), and for "
            f"{self.drain_max:g} s at most"
        )


def make_plan(
    drain_delay: float | None,
    environment: Mapping[str, str] | None = None,
    **options: Unpack[DrainOptions],
) -> Plan:
    """Return the plan: the argument, the environment, the orchestrator seen, or no delay.

    Raises:
        ConfigurationError: If an option or the variable makes no sense.
    """
    delay, source = find_delay(drain_delay, os.environ if environment is None else environment)
    until = options.get("drain_until", "delay")
    if until not in ("delay", "quiet"):
        raise ConfigurationError(f"{WHERE}: drain_until must be 'delay' or 'quiet', got {until!r}")
    seen = options.get("seen_503", 2)
    refuse_count(WHERE, "seen_503", seen)
    longest = find_longest(options.get("drain_max"), delay, source)
    close = options.get("close_websockets", False)
    if close is not True and close is not False:
        raise ConfigurationError(f"{WHERE}: close_websockets must be True or False, got {close!r}")
    quiet_for, linger = options.get("quiet_for", 1.0), options.get("linger", 20.0)
    refuse_seconds(WHERE, "quiet_for", quiet_for, least=0)
    refuse_seconds(WHERE, "linger", linger, least=0)
    if until == "delay":
        refuse_evidence(options)
    elif quiet_for > longest:
        raise ConfigurationError(
            f"{WHERE}: quiet_for must not be longer than drain_max, or it never comes to that; got "
            f"quiet_for={quiet_for:g} and drain_max={longest:g}"
        )
    return Plan(
        delay,
        source,
        until,
        seen,
        float(quiet_for),
        longest,
        float(linger),
        close,
    )


def refuse_evidence(options: DrainOptions) -> None:
    """Refuse what says by which evidence a drain ends, where it ends by the clock."""
    for name in ("drain_max", "quiet_for", "seen_503"):
        if (value := options.get(name)) is not None:
            raise ConfigurationError(
                f"{WHERE}: {name}={value!r} has no meaning without drain_until='quiet'; add that, "
                f"or leave it out"
            )


def find_longest(argument: float | None, delay: float, source: str) -> float:
    """Return after how many seconds evidence is waited for no longer."""
    if argument is None:
        return max(DEFAULT_DRAIN_MAX, delay)
    refuse_seconds(WHERE, "drain_max", argument, least=0)
    if argument < delay:
        raise ConfigurationError(
            f"{WHERE}: drain_max must not be shorter than drain_delay, got drain_max={argument:g} "
            f"and drain_delay={delay:g} ({source}); raise drain_max, or leave it out"
        )
    return float(argument)


def find_delay(argument: float | None, environment: Mapping[str, str]) -> tuple[float, str]:
    """Return how long to go on serving after SIGTERM, and where that number came from."""
    remedy = "0 hands SIGTERM on at once"
    if argument is not None:
        refuse_seconds(WHERE, "drain_delay", argument, least=0, remedy=remedy)
        return float(argument), "argument drain_delay"
    if value := environment.get(VARIABLE):
        number: float | str = value
        with suppress(ValueError):
            number = float(value)
        refuse_seconds("environment", VARIABLE, number, least=0, remedy=remedy)
        return float(number), f"variable {VARIABLE}"
    for variable, orchestrator in ORCHESTRATORS.items():
        if variable in environment:
            return ORCHESTRATED_DELAY, f"{orchestrator} seen"
    return 0.0, "no orchestrator seen"
