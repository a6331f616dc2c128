"""What a real server serves for the tests of this folder: a check of every kind."""

from __future__ import annotations

from probekit import Degraded, Probes
from probekit.asgi import probe_app

probes = Probes(drain_delay=0, observers=[])


@probes.readiness
async def database() -> dict[str, int]:
    """Be well, with a detail."""
    return {"connections": 3}


@probes.readiness(critical=False)
async def cache() -> None:
    """Be slow."""
    raise Degraded("slow", detail={"ms": 40})


@probes.startup
def model() -> None:
    """Be loaded."""


app = probe_app(probes)
