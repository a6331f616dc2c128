"""The ASGI doors: a middleware for an application, and an application of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from probekit._core.model import DrainStep
from probekit._core.options import refuse_unknown
from probekit._web.endpoint import Endpoint
from probekit._web.endpoints import EndpointOptions, Endpoints
from probekit._web.message import Request
from probekit._web.metrics import MetricsExporter
from probekit._web.problem import not_found
from probekit._web.serving import MiddlewareOptions, close, split
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.message import Response
    from probekit._web.side import Side
    from probekit.probes import Probes

__all__ = [
    "ASGIApp",
    "EndpointOptions",
    "MetricsExporter",
    "ProbeApp",
    "ProbeMiddleware",
    "probe_app",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSE = (b"connection", b"close")
GOING_AWAY = "the server is going away; connect again"


class ProbeMiddleware:
    """Answers the probes before the application sees them, and counts what it is busy with.

    Add it **last**, so that it stands outermost: before authentication, redirects and host checks,
    none of which a prober passes. It starts and stops the background checks with the application's
    lifespan, and while the process drains it marks every HTTP/1.x response with
    ``Connection: close``, so that keep-alive clients move on.

    ::

        app.add_middleware(ProbeMiddleware, probes=probes)   # FastAPI, Starlette
        app = ProbeMiddleware(app, probes=probes)            # any ASGI application

    Args:
        app: The application inside.
        probes: What to answer.
        **options: See `EndpointOptions`; and ``side_port``, on which all endpoints are answered
            once more, by a thread that a blocked event loop does not hold up, while the lifespan
            lasts (with ``side_host``, ``"0.0.0.0"``).

    Raises:
        ConfigurationError: If an option cannot work.
    """

    def __init__(
        self, app: ASGIApp, *, probes: Probes, **options: Unpack[MiddlewareOptions]
    ) -> None:
        self._app = app
        self._service = probes.service
        self._traffic = probes.service.traffic
        self._drain = probes.service.drain
        endpoint_options, self._side = split(probes.service, options, lends_loop=False)
        self._endpoints = Endpoints(probes.service, **endpoint_options)
        self._paths = self._endpoints.paths
        self._traffic.counted = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, a WebSocket or the lifespan."""
        kind = scope["type"]
        if kind == "http":
            path = scope["path"]
            root_path = scope.get("root_path")
            # An ordinary request does not pay for the calls that look closer.
            if root_path or path.startswith(self._paths):
                found = self._endpoints.find(path, root_path or "")
                if found is not None:
                    await answer(found, self._service, scope, receive, send)
                    return
            traffic, drain = self._traffic, self._drain
            if not self._service.served:
                self._service.serving()

            # A plain function that returns the awaitable: a coroutine more for each message would
            # cost more than all the rest.
            def mark(message: Message) -> Awaitable[None]:
                if drain.state is not None and message["type"] == "http.response.start":
                    message = closing(scope, message)
                return send(message)

            traffic.latest = now = traffic.clock()
            traffic.requests[mark] = scope, now  # the function is this request's alone
            try:
                await self._app(scope, receive, mark)
            finally:
                del traffic.requests[mark]
        elif kind == "websocket":
            await WebSocket(self._service, receive, send).run(self._app, scope)
        elif kind == "lifespan":
            await Lifespan(self._service, receive, send, side=self._side).run(self._app, scope)
        else:
            await self._app(scope, receive, send)


class ProbeApp:
    """What `probe_app` makes."""

    def __init__(self, probes: Probes, **options: Unpack[EndpointOptions]) -> None:
        self._service = probes.service
        self.endpoints: Endpoints = endpoints_of(probes, options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the lifespan."""
        kind = scope["type"]
        if kind == "http":
            found = self.endpoints.find(scope["path"], scope.get("root_path", ""))
            await answer(found or (NOWHERE, ""), self._service, scope, receive, send)
        elif kind == "lifespan":
            await Lifespan(self._service, receive, send).run(complete_lifespan, scope)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})


def endpoints_of(probes: Probes, options: EndpointOptions) -> Endpoints:
    """Return the endpoints that the options of a door describe."""
    refuse_unknown("probe endpoints", options, EndpointOptions.__optional_keys__)
    return Endpoints(probes.service, **options)


def probe_app(probes: Probes, **options: Unpack[EndpointOptions]) -> ProbeApp:
    """Return an ASGI application that answers the probes and nothing else.

    Serve it by itself, or mount it: ``app.mount("/internal", probe_app(probes))`` answers
    ``/internal/readyz``. A mounted application gets no lifespan, so its background checks and the
    watch for SIGTERM begin with the first probe, and it counts no requests; `ProbeMiddleware` does.

    Args:
        probes: What to answer.
        **options: See `EndpointOptions`.

    Raises:
        ConfigurationError: If an option cannot work.
    """
    return ProbeApp(probes, **options)


class Nowhere(Endpoint):
    """Answers where no endpoint is."""

    async def respond(self, request: Request) -> Response:
        """Answer 404."""
        del request
        return not_found("no probe has this path")


NOWHERE = Nowhere(allowed=None)


async def complete_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Be an application whose startup and shutdown have nothing to do."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(
    found: tuple[Endpoint, str], service: Service, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let an endpoint answer a request."""
    endpoint, tail = found
    client = scope.get("client")
    request = Request(
        scope["method"],
        tail,
        scope.get("query_string", b""),
        tuple(scope["headers"]),
        client[0] if client else None,
        partial(read_body, receive),
    )
    status, headers, content = await endpoint.answer(request)
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    if service.drain.state is not None:
        start = closing(scope, start)
    await send(start)
    content = b"" if request.method == "HEAD" else content
    await send({"type": "http.response.body", "body": content})


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request; None if it is longer than ``limit`` bytes, or broke off."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None  # half a body may still be JSON, and say something else
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def closing(scope: Scope, message: Message) -> Message:
    """Return the start of a response, marked so that an HTTP/1.x client closes the connection."""
    if not scope.get("http_version", "1.1").startswith("1"):
        return message  # HTTP/2 forbids the header and has GOAWAY
    headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
    return {**message, "headers": [*headers, CLOSE]}


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
