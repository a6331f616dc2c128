"""An application that stands still in every way that is asked for."""

from __future__ import annotations

import ctypes
import os
import re
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request


async def pid(_: Request) -> PlainTextResponse:
    """Say who answers."""
    return PlainTextResponse(str(os.getpid()))


async def regex(_: Request) -> PlainTextResponse:
    """Compute in C for years, with the GIL."""
    re.match(r"(a+)+$", "a" * 60 + "b")
    return PlainTextResponse("no")


async def call(_: Request) -> PlainTextResponse:
    """Sleep in C for a minute, with the GIL."""
    ctypes.PyDLL(None).usleep(60_000_000)
    return PlainTextResponse("late")


async def work(_: Request) -> PlainTextResponse:
    """Compute in Python for 20 ms of CPU time."""
    ends = time.thread_time() + 0.02
    while time.thread_time() < ends:
        pass
    return PlainTextResponse("done")


probes = Probes(drain_delay=0, observers=[], stuck_after=1.0)
routes = [
    Route("/", pid),
    Route("/regex", regex),
    Route("/call", call),
    Route("/work", work),
]
app = ProbeMiddleware(Starlette(routes=routes), probes=probes)
