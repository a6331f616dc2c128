"""The lifespan of an ASGI application, with which the service lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probekit._web.serving import close
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send
    from probekit._web.side import Side

__all__ = ["Lifespan", "complete_lifespan", "fail_lifespan"]


class Lifespan:
    """Follows the lifespan of the application inside and lets the service live with it.

    No task stands between the server and the application, so an exception of the application's
    reaches the server as it is.
    """

    def __init__(
        self, service: Service, receive: Receive, send: Send, *, side: Side | None = None
    ) -> None:
        self._service = service
        self._receive = receive
        self._send = send
        self._side = side
        self._listens = False
        self._entered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application's lifespan to its end."""
        try:
            await app(scope, self._received, self._sent)
        finally:
            try:
                await self._leave()
            finally:
                await self._close()

    async def _received(self) -> Message:
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            try:
                self._service.starting()
                self._entered = True
                if self._side is not None:
                    self._side.listen()
                    self._listens = True
            except ConfigurationError as error:
                # A server takes a mere exception for an application that knows no lifespan.
                await self._send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
        elif message["type"] == "lifespan.shutdown":
            # Before the application closes what its checks use.
            await self._leave()
        return message

    async def _sent(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._service.started()
        elif kind == "lifespan.shutdown.complete":
            self._service.closed()
        if kind != "lifespan.startup.complete":
            await self._close()  # not after it: granian runs the loop no further, and would hang
        await self._send(message)

    async def _leave(self) -> None:
        if self._entered:
            self._entered = False
            await self._service.stopped()

    async def _close(self) -> None:
        if self._side is not None and self._listens:
            self._listens = False
            await close(self._side)


async def complete_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an application whose startup and shutdown have nothing to do."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def fail_lifespan(receive: Receive, send: Send, why: str) -> None:
    """Say that the startup has failed."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": why})
