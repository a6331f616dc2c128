"""An application with background tasks that are jobs; it writes down what becomes of them.

NOTES is the file. The resource that ``on_abandon`` needs is open until the lifespan ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

logging.basicConfig(level=logging.INFO)

probes = Probes(drain_delay=0.3, linger=0.7)
tasks = set[asyncio.Task[None]]()
notes = Path(os.environ["NOTES"])
resources: list[int] = []


def note(line: str) -> None:
    """Write a line."""
    with notes.open("a") as file:
        file.write(f"{line}\n")


@probes.on_abandon
async def put_back(job: str) -> None:
    """Need the application's resources for it."""
    await asyncio.sleep(0.05)
    note(f"back {job} {resources[0]}")


@probes.worker
async def handle(job: str, seconds: float) -> None:
    """Take so long."""
    await asyncio.sleep(seconds)
    note(f"ended {job}")


async def begin(request: Request) -> Response:
    """Begin a job and answer."""
    seconds = float(request.query_params["for"])
    task = asyncio.create_task(handle(request.path_params["job"], seconds))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return Response(status_code=202)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[None]:
    """Hold a resource."""
    resources.append(1)
    yield
    resources.clear()
    note("closed")


routes = [Route("/jobs/{job}", begin, methods=["POST"])]
app = ProbeMiddleware(Starlette(routes=routes, lifespan=lifespan), probes=probes)
