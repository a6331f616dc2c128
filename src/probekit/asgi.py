"""The ASGI doors: a middleware for an application, and an application of its own."""

from __future__ import annotations

from functools import partial
from traceback import walk_stack
from typing import TYPE_CHECKING, Unpack, cast

from probekit._core.loops import find_loop
from probekit._core.options import refuse_unknown
from probekit._web.asgi_types import ASGIApp
from probekit._web.endpoint import Endpoint
from probekit._web.endpoints import EndpointOptions, Endpoints
from probekit._web.lifespan import Lifespan, complete_lifespan, fail_lifespan
from probekit._web.message import Request
from probekit._web.metrics import MetricsExporter
from probekit._web.problem import not_found
from probekit._web.serving import MiddlewareOptions, service_of, split, wrapped
from probekit._web.websocket import WebSocket
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Self

    from probekit._lifecycle.service import Service
    from probekit._web.asgi_types import Message, Receive, Scope, Send
    from probekit._web.message import Response
    from probekit.probes import Probes

__all__ = [
    "ASGIApp",
    "EndpointOptions",
    "MetricsExporter",
    "ProbeApp",
    "ProbeMiddleware",
    "probe_app",
]

CLOSE = (b"connection", b"close")


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
        ConfigurationError: If an option cannot work. Starlette and FastAPI make their middleware
            when the lifespan begins, which then fails with the text.
    """

    def __init__(
        self, app: ASGIApp, *, probes: Probes, **options: Unpack[MiddlewareOptions]
    ) -> None:
        try:
            self._prepare(app, probes, options)
        except ConfigurationError as error:
            if not is_made_late():
                raise
            self._refusal = str(error)
            # Rather than to ask with each request whether there is one.
            self.__class__ = cast("type[Self]", Refused)

    def _prepare(self, app: ASGIApp, probes: Probes, options: MiddlewareOptions) -> None:
        self._app = wrapped("ASGI", app)
        self._service = service = service_of(probes)
        self._traffic = service.traffic
        self._drain = service.drain
        endpoint_options, self._side = split(service, options, lends_loop=False)
        self._endpoints = Endpoints(service, **endpoint_options)
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


class Refused(ProbeMiddleware):
    """Answers in place of a middleware that cannot work, and that was made too late to say so."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Fail the startup, and whatever a server that does without one wants instead."""
        if scope["type"] == "lifespan":
            await fail_lifespan(receive, send, self._refusal)
        raise ConfigurationError(self._refusal)


def is_made_late() -> bool:
    """Whether Starlette makes its middleware in this moment, with the first call of a server.

    Nobody hears of an error then: servers take it for that of an application without a lifespan.
    """
    return find_loop() is not None and any(
        frame.f_code.co_name == "build_middleware_stack" for frame, _ in walk_stack(None)
    )


class ProbeApp:
    """What `probe_app` makes."""

    def __init__(self, probes: Probes, **options: Unpack[EndpointOptions]) -> None:
        refuse_unknown("probe endpoints", options, EndpointOptions.__optional_keys__)
        self._service = service_of(probes)
        self.endpoints: Endpoints = Endpoints(self._service, **options)

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
