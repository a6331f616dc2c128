"""A Starlette application with a check that hangs in the way that HANG says; "" hangs nowhere."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

FOR_EVER = 3600.0
LOCK = threading.Lock()


async def patiently() -> None:
    """Await what never comes."""
    await anyio.sleep(FOR_EVER)


def asleep() -> None:
    """Sleep on the thread."""
    time.sleep(FOR_EVER)


def locked_out() -> None:
    """Wait for a lock that nobody releases."""
    with LOCK:
        pass


async def stubbornly() -> None:
    """Swallow every cancellation."""
    while True:
        try:
            await anyio.sleep(FOR_EVER)
        except anyio.get_cancelled_exc_class():
            continue


async def healthy() -> None:
    """Be well."""


HANGS: Mapping[str, Callable[[], Any]] = {
    "async": patiently,
    "sync": asleep,
    "lock": locked_out,
    "stubborn": stubbornly,
    "": healthy,
}

LOCK.acquire()
probes = Probes(drain_delay=0)
probes.readiness(healthy)
probes.readiness(
    HANGS[os.environ.get("HANG", "")],
    name="hung",
    timeout=0.5,
    cancel_after=float(os.environ.get("CANCEL_AFTER", "30")),
)


async def root(_: Request) -> PlainTextResponse:
    """Answer on the loop."""
    return PlainTextResponse("async")


def sync(_: Request) -> PlainTextResponse:
    """Answer on a thread of anyio's pool."""
    return PlainTextResponse("sync")


async def to_thread(_: Request) -> PlainTextResponse:
    """Answer with what a thread of the loop's own pool says."""
    if "trio" in sys.modules:
        import trio

        return PlainTextResponse(await trio.to_thread.run_sync(str, "thread"))
    return PlainTextResponse(await asyncio.to_thread(str, "thread"))


async def resolve(_: Request) -> PlainTextResponse:
    """Look a name up, as every database driver does."""
    if "trio" in sys.modules:
        found = await anyio.getaddrinfo("localhost", 80)
        return PlainTextResponse(found[0][4][0])
    addresses = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    return PlainTextResponse(str(addresses[0][4][0]))


async def threads(_: Request) -> JSONResponse:
    """Name the threads of this process."""
    return JSONResponse([thread.name for thread in threading.enumerate()])


app = Starlette(
    routes=[
        Route("/", root),
        Route("/sync", sync),
        Route("/to-thread", to_thread),
        Route("/resolve", resolve),
        Route("/threads", threads),
    ]
)
app.add_middleware(ProbeMiddleware, probes=probes)
