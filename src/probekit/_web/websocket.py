"""A WebSocket, from its handshake to its end or that of a drain."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from probekit._core.model import DrainStep

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["WebSocket"]

GOING_AWAY = "the server is going away; connect again"


class WebSocket:
    """Follows a WebSocket, and closes it at the end of a drain if the plan says so.

    Args:
        service: Where it is in flight.
        receive: The server's.
        send: The server's.
    """

    def __init__(self, service: Service, receive: Receive, send: Send) -> None:
        self._service = service
        self._receive = receive
        self._send = send
        self._open = False
        self._closed_here = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application to the end of the connection."""
        service = self._service
        traffic, farewells = service.traffic, service.farewells
        if not service.served:
            service.serving()
        traffic.latest = now = traffic.clock()
        traffic.websockets[self] = scope, now
        send = self._send
        if service.sigterm.plan.close_websockets:
            farewells[self] = self._close
            send = self._send_unless_closed
        try:
            await app(scope, self._receive, send)
        finally:
            del traffic.websockets[self]
            farewells.pop(self, None)

    async def _send_unless_closed(self, message: Message) -> None:
        kind = message["type"]
        if self._closed_here:
            return  # the client has been told, and the server takes no more
        if kind == "websocket.close":
            self._open = False
        await self._send(message)
        if kind == "websocket.accept":
            self._open = True
            if self._service.steps.reached(DrainStep.HANDED_OVER):
                await self._close()

    async def _close(self) -> None:
        """Say that the server goes away; the client comes back to another."""
        if self._open and not self._closed_here:
            self._closed_here = True
            for code in (1001, 1000):  # daphne refuses to send the one that is meant for this
                # The client may be gone, which each server tells by an exception of its own.
                with suppress(Exception):
                    close = {"type": "websocket.close", "code": code, "reason": GOING_AWAY}
                    await self._send(close)
                    return
