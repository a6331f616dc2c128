"""What the servers of these tests serve: probes, an application, and who answered."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def hello(_: Request) -> PlainTextResponse:
    """Answer at once."""
    return PlainTextResponse("hello")


async def slow(_: Request) -> PlainTextResponse:
    """Answer late."""
    await asyncio.sleep(1.5)
    return PlainTextResponse("late")


def signed(application: ASGIApp) -> ASGIApp:
    """Say in every response which worker it comes from."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def sign(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = [*message.get("headers", []), (b"x-pid", b"%d" % os.getpid())]
                message = {**message, "headers": headers}
            await send(message)

        await application(scope, receive, sign)

    return app


probes = Probes(drain_delay=0, observers=[])


@probes.readiness
async def database() -> None:
    """Be there; a worker is not known to be ready before it has asked."""


routes = [Route("/", hello), Route("/slow", slow)]
app = signed(ProbeMiddleware(Starlette(routes=routes), probes=probes))
