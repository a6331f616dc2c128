"""Small ASGI applications, and a server's part of the lifespan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probekit import Probes
    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LifespanRun", "hello", "ticking"]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer everything with one greeting, and know a lifespan."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def ticking(probes: Probes) -> list[float]:
    """Declare a background check on ``probes`` and return the moments at which it ran."""
    ran: list[float] = []

    @probes.readiness(interval=0.02, timeout=0.02, initial_delay=0)
    async def tick() -> None:
        ran.append(anyio.current_time())

    return ran


class LifespanRun:
    """Does with an application's lifespan what a server does.

    Attributes:
        sent: What the application sent, in order.
        error: What it raised in the end, or None.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.sent: list[str] = []
        self.messages: list[Message] = []
        self.error: BaseException | None = None

    async def run(
        self,
        while_up: Callable[[], Awaitable[object]] | None = None,
        *,
        on_send: Callable[[str], object] = lambda _: None,
    ) -> LifespanRun:
        """Start the application up, await ``while_up``, and shut it down."""
        to_app, from_server = anyio.create_memory_object_stream[Any](2)
        up = anyio.Event()

        async def send(message: Message) -> None:
            on_send(message["type"])
            self.messages.append(message)
            self.sent.append(message["type"])
            if message["type"].startswith("lifespan.startup."):
                up.set()

        async def main() -> None:
            try:
                await self._app(
                    {"type": "lifespan", "asgi": {}, "state": {}}, from_server.receive, send
                )
            except Exception as error:
                self.error = error
            up.set()

        with anyio.fail_after(10), to_app, from_server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(main)
                await to_app.send({"type": "lifespan.startup"})
                await up.wait()
                if while_up is not None and "lifespan.startup.complete" in self.sent:
                    await while_up()
                await to_app.send({"type": "lifespan.shutdown"})
        return self
