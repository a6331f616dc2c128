"""An ASGI application whose loop a request can hold up; SIDE_PORT is its side port.

STUCK_AFTER is the seconds for which it may stand still.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request


async def block(_: Request) -> PlainTextResponse:
    """Hold up everything."""
    time.sleep(4)  # noqa: ASYNC251 - that is the point
    return PlainTextResponse("at last")


async def work(_: Request) -> PlainTextResponse:
    """Be busy for a moment."""
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return PlainTextResponse("done")


stuck_after = float(os.environ.get("STUCK_AFTER", "5"))
probes = Probes(drain_delay=0, observers=[], stuck_after=stuck_after)


@probes.readiness
async def check() -> None:
    """Be well, if the loop turns."""


app = ProbeMiddleware(
    Starlette(routes=[Route("/block", block), Route("/work", work)]),
    probes=probes,
    side_port=int(os.environ["SIDE_PORT"]),
    side_host="127.0.0.1",
)
