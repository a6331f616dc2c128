"""What the servers of these tests serve: probes, an application, and who answered.

No framework, whose import would take a third of each worker's start.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from probekit._web.asgi_types import Message, Receive, Scope, Send


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, or late."""
    if scope["type"] == "lifespan":
        while True:
            said = (await receive())["type"]
            await send({"type": f"{said}.complete"})
            if said == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(1.5)
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


probes = Probes(drain_delay=0, observers=[])


@probes.readiness
async def database() -> None:
    """Be there; a worker is not known to be ready before it has asked."""


middleware = ProbeMiddleware(application, probes=probes)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Say in every response which worker it comes from."""

    async def sign(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"x-pid", b"%d" % os.getpid())]
            message = {**message, "headers": headers}
        await send(message)

    await middleware(scope, receive, sign)
