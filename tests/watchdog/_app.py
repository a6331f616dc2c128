"""What the servers of these tests serve: every way to hold an event loop, until that is noticed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware
from tests.holding import HOLDS, compute

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

LONGEST = 15.0
"""Seconds that anything is held, whoever forgets it."""

probes = Probes(
    observers=[],
    drain_delay=0,
    stuck_after=1.0,
    on_stuck="exit" if "EXIT" in os.environ else "report",
    exits_per_hour=1,
)


def hold(how: Callable[[], object]) -> dict[str, object]:
    """Hold the loop until that is noticed; return as what, and after how many seconds."""
    began = time.monotonic()
    while (stall := probes.stall) is None and time.monotonic() - began < LONGEST:
        how()
    return {"stall": str(stall), "seconds": time.monotonic() - began}


async def held(request: Request) -> JSONResponse:
    """Hold it in a request."""
    return JSONResponse(hold(HOLDS[request.path_params["how"]]))


@probes.readiness(max_age=0.0, timeout=60.0)
async def heedless() -> dict[str, str]:
    """Hold it in a check."""
    return {"found": str(hold(HOLDS["sleep"]))}


async def work(_: Request) -> PlainTextResponse:
    """Use 20 ms of CPU, as a request does that renders something."""
    compute(0.02)
    return PlainTextResponse("done")


async def pid(_: Request) -> PlainTextResponse:
    """Tell who answers."""
    return PlainTextResponse(str(os.getpid()))


async def hang(_: Request) -> PlainTextResponse:
    """Hold the loop until the test says otherwise."""
    wait_for(Path(os.environ["RELEASE"]))
    return PlainTextResponse("released")


def wait_for(file: Path) -> None:
    """Wait until there is such a file."""
    deadline = time.monotonic() + LONGEST
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


routes = [Route("/hold/{how}", held), Route("/work", work), Route("/pid", pid)]
routes.append(Route("/hang", hang))
app = ProbeMiddleware(Starlette(routes=routes), probes=probes)
