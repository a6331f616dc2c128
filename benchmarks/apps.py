"""The applications of `requests` and `watchdog`; the variable APP chooses one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def check() -> None:
    """Be well."""


async def hello(_: object) -> Response:
    """Answer as little JSON as a liveness probe."""
    return Response(b'{"status": "healthy"}\n', media_type="application/json")


def with_probes() -> ASGIApp:
    """Return an application with ten readiness checks."""
    probes = Probes(drain_delay=0)
    for number in range(10):
        probes.readiness(check, name=f"check-{number}")
    return ProbeMiddleware(Starlette(), probes=probes)


def with_watchdog(stuck_after: float | None) -> ASGIApp:
    """Return an application that is watched, or (None) not."""
    probes = Probes(drain_delay=0, stuck_after=stuck_after)
    return ProbeMiddleware(Starlette(routes=[Route("/hello", hello)]), probes=probes)


class Raw:
    """Sends what probekit answered once, byte for byte: no ASGI application can do less."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.start: Message = {}
        self.body: Message = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every request alike."""
        if scope["type"] == "http":
            await send(self.start)
            await send(self.body)
        else:
            await receive()
            await self._copy()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    async def _copy(self) -> None:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": self.path, "headers": []}
        await with_probes()(scope, receive, send)
        self.start, self.body = sent


def chosen(name: str) -> ASGIApp:
    """Return the application of that name."""
    match name:
        case "probekit":
            return with_probes()
        case "starlette":
            return Starlette(routes=[Route("/healthz", hello)])
        case "bare":
            return Starlette(routes=[Route("/hello", hello)])
        case "watched":
            return with_watchdog(5.0)
        case "unwatched":
            return with_watchdog(None)
        case "raw-liveness":
            return Raw("/healthz")
        case _:
            return Raw("/readyz")


app = chosen(os.environ["APP"])
