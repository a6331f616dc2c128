"""An ASGI application whose loop a request or a check holds in every way, until RELEASE is there.

SIDE_PORT is its side port.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.holding import HOLDS

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request

LONGEST = 20.0
"""Seconds that anything is held, whoever forgets it."""

release = Path(os.environ["RELEASE"])


def hold(how: str) -> None:
    """Hold the loop."""
    deadline = time.monotonic() + LONGEST
    while not release.exists() and time.monotonic() < deadline:
        HOLDS[how]()


async def held(request: Request) -> PlainTextResponse:
    """Hold it in a request."""
    hold(request.path_params["how"])
    return PlainTextResponse("at last")


probes = Probes(drain_delay=0, observers=[], stuck_after=1.0)


@probes.readiness(max_age=0, timeout=60)
async def heedless() -> None:
    """Hold it in a check."""
    hold("sleep")


app = ProbeMiddleware(
    Starlette(routes=[Route("/{how}", held)]),
    probes=probes,
    side_port=int(os.environ["SIDE_PORT"]),
    side_host="127.0.0.1",
)
