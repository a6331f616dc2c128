"""Ten checks that note when they run, inside a server that cancels the requests of who leaves.

KIND is "async" or "sync"; SECONDS is how long each takes and MAX_AGE how long it counts.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KIND = os.environ.get("KIND", "async")
SECONDS = float(os.environ.get("SECONDS", "0.01"))
MAX_AGE = float(os.environ.get("MAX_AGE", "1"))

probes = Probes(drain_delay=0)
starts: dict[str, list[float]] = {}
ends: dict[str, int] = {}
cancelled: list[str] = []


def declare(name: str) -> Callable[[], Any]:
    """Return a check that notes its runs under ``name``."""
    starts[name] = []
    ends[name] = 0

    async def on_loop() -> None:
        starts[name].append(time.monotonic())
        await anyio.sleep(SECONDS)
        ends[name] += 1

    def on_thread() -> None:
        starts[name].append(time.monotonic())
        time.sleep(SECONDS)
        ends[name] += 1

    return on_loop if KIND == "async" else on_thread


for number in range(10):
    probes.readiness(declare(f"check-{number}"), name=f"check-{number}", max_age=MAX_AGE)


async def runs(_: object) -> JSONResponse:
    """Tell when each check began, how often it came to its end, and which requests did not."""
    return JSONResponse({"starts": starts, "ends": ends, "cancelled": cancelled})


class CancelOnDisconnect:
    """Cancels the request of a client that has gone, as some servers and middlewares do."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request until it is answered or nobody waits for the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await receive()  # the body, which nobody here reads

        async def nothing_more() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            cancelled.append(scope["path"])
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await self.app(scope, nothing_more, send)
            tasks.cancel_scope.cancel()


app = CancelOnDisconnect(ProbeMiddleware(Starlette(routes=[Route("/runs", runs)]), probes=probes))
