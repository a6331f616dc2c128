"""What the subprocess servers of these tests serve; SLOW is how long /slow takes."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

SLOW = float(os.environ.get("SLOW", "0.5"))
PLAIN = "PLAIN" in os.environ


async def hello(_: Request) -> PlainTextResponse:
    """Answer at once."""
    return PlainTextResponse("hello")


async def slow(_: Request) -> PlainTextResponse:
    """Answer late."""
    await asyncio.sleep(SLOW)
    return PlainTextResponse("late")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Leave a note of the shutdown."""
    yield
    await anyio.Path(os.environ["NOTE"]).write_text("shut down")


def bare(application: ASGIApp) -> ASGIApp:
    """Return the application without its lifespan."""

    async def only_http(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError("HTTP only")
        await application(scope, receive, send)

    return only_http


app: ASGIApp = Starlette(routes=[Route("/", hello), Route("/slow", slow)], lifespan=lifespan)
if "BARE" in os.environ:
    app = bare(app)
if not PLAIN:
    app = ProbeMiddleware(app, probes=Probes())
