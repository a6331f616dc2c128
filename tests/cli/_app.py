"""What the subprocess servers of these tests serve; /slow answers when /release is asked for.

TOKEN is the admin_token, PREFIX where the application is mounted, DELAY the drain_delay.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

released = asyncio.Event()


async def slow(_: Request) -> PlainTextResponse:
    """Answer when released."""
    released.clear()
    await released.wait()
    return PlainTextResponse("late")


async def release(_: Request) -> PlainTextResponse:
    """Let the slow ones go."""
    released.set()
    return PlainTextResponse("released")


probes = Probes(drain_delay=float(os.environ.get("DELAY", "0")))
service: ASGIApp = ProbeMiddleware(
    Starlette(routes=[Route("/slow", slow), Route("/release", release)]),
    probes=probes,
    admin_token=os.environ.get("TOKEN"),
)
app: ASGIApp = service
if "PREFIX" in os.environ:
    app = Starlette(routes=[Mount(os.environ["PREFIX"], service)])
