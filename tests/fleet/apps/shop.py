"""An application in a fleet; the variables REDIS and VERSION say which."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from probekit import Probes
from probekit.asgi import ProbeMiddleware
from probekit.fleet import Fleet

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

probes = Probes(drain_delay=0)
Fleet(os.environ["REDIS"], app="shop", version=os.environ.get("VERSION", "")).join(probes)


@probes.readiness
async def database() -> None:
    """Be there; a worker is not known to be ready before it has asked."""


inner = ProbeMiddleware(Starlette(), probes=probes)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Say in a header which worker answers."""

    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            pid = str(os.getpid()).encode()
            message["headers"] = [*message["headers"], (b"x-pid", pid)]
        await send(message)

    await inner(scope, receive, signed)
