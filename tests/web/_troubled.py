"""Probes of which everything that can be said about a check is true of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probekit import Degraded, Unhealthy

from ._asking import HeldClock, make_probes

if TYPE_CHECKING:
    from probekit import Probes

__all__ = ["SECRET", "troubled"]

SECRET = "hunter2-secret"
"""What no answer may show."""


def troubled() -> Probes:
    """Return Probes with a check that is well and three that are not, each in its own way."""
    probes = make_probes(HeldClock())

    @probes.readiness
    async def database() -> None:
        pass

    @probes.readiness
    async def cache() -> None:
        raise Unhealthy("no connection", detail={"tried": 3})

    @probes.readiness(critical=False)
    async def balance() -> None:
        raise Degraded("balance below 1.00", detail={"balance": 0.4})

    @probes.readiness(critical=False)
    async def mail() -> None:
        raise ValueError(SECRET)

    return probes
