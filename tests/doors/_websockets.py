"""What a real server serves for the tests of WebSockets: sockets that never end by themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from probekit._web.asgi_types import Receive, Scope, Send

__all__ = ["app"]


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Greet, and then listen, or on /ticker talk, until the client has gone; know a lifespan."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    if scope["path"] == "/ticker":
        listening = asyncio.ensure_future(receive())
        while not listening.done():
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0.01)
    while (await receive())["type"] != "websocket.disconnect":
        pass


app = ProbeMiddleware(chat, probes=Probes(close_websockets=True))
