"""Tells its process id, at once or a second later, and leaves notes of its lifespan in NOTES."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
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

NOTES = Path(os.environ["NOTES"])


def note(what: str) -> None:
    """Leave a note of this process."""
    (NOTES / f"{os.getpid()}.{what}").touch()


async def quick(_: Request) -> PlainTextResponse:
    """Answer at once."""
    return PlainTextResponse(str(os.getpid()))


async def slow(_: Request) -> PlainTextResponse:
    """Answer late."""
    await anyio.sleep(1.0)
    return PlainTextResponse(str(os.getpid()))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Note the start and the shutdown."""
    note("started")
    yield
    note("stopped")


routes = [Route("/", quick), Route("/slow", slow)]
app = ProbeMiddleware(Starlette(routes=routes, lifespan=lifespan), probes=Probes())
