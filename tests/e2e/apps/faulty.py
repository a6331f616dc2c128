"""An application whose checks raise what checks should not, and one that blocks the loop."""

from __future__ import annotations

import sys
import time

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

probes = Probes(drain_delay=0)


@probes.readiness(max_age=0)
async def exits() -> None:
    """End the process, or so it thinks."""
    sys.exit(3)


@probes.readiness(max_age=0)
def exits_on_thread() -> None:
    """End the process from a thread, or so it thinks."""
    sys.exit(3)


@probes.readiness(max_age=0)
async def interrupts() -> None:
    """Do as Ctrl-C does."""
    raise KeyboardInterrupt


@probes.readiness(max_age=0)
def interrupts_on_thread() -> None:
    """Do as Ctrl-C does, on a thread."""
    raise KeyboardInterrupt


@probes.readiness(max_age=0)
async def raises_several() -> None:
    """Raise as a task group does, fatal ones among them."""
    raise BaseExceptionGroup("several", [ValueError("a secret"), SystemExit(3)])


@probes.readiness(max_age=0)
async def blocks() -> None:
    """Hold the event loop."""
    time.sleep(0.3)  # noqa: ASYNC251 - the fault under test


async def root(_: object) -> PlainTextResponse:
    """Answer on the loop."""
    return PlainTextResponse("async")


app = ProbeMiddleware(Starlette(routes=[Route("/", root)]), probes=probes)
