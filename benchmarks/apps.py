"""The applications of `requests` and `watchdog`; the variable APP chooses one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware, closing

if TYPE_CHECKING:
    from collections.abc import Awaitable

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


def with_watchdog(
    stuck_after: float | None, middleware: type[ProbeMiddleware] = ProbeMiddleware
) -> ASGIApp:
    """Return an application that is watched, or (None) not."""
    probes = Probes(drain_delay=0, stuck_after=stuck_after)
    return middleware(Starlette(routes=[Route("/hello", hello)]), probes=probes)


class Uncounted(ProbeMiddleware):
    """The middleware as it would be if it noted nothing of an ordinary request.

    So it knows neither what is in flight, which the watchdog reads progress from, nor when the last
    one came.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request as `ProbeMiddleware` does, less the notes."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        root_path = scope.get("root_path")
        if root_path or scope["path"].startswith(self._paths):
            await super().__call__(scope, receive, send)
            return
        drain = self._drain
        if not self._service.served:
            self._service.serving()

        def mark(message: Message) -> Awaitable[None]:
            if drain.state is not None and message["type"] == "http.response.start":
                message = closing(scope, message)
            return send(message)

        await self._app(scope, receive, mark)


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
        case "uncounted":
            return with_watchdog(None, Uncounted)
        case "raw-liveness":
            return Raw("/healthz")
        case _:
            return Raw("/readyz")


app = chosen(os.environ["APP"])
