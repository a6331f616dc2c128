"""The WSGI door: a middleware for Flask, Django and any other WSGI application."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from probekit._core.portal import PORTAL
from probekit._web.endpoints import EndpointOptions, Endpoints
from probekit._web.environ import end_connection, full_path, request_of
from probekit._web.pool import is_servers, pool_size
from probekit._web.serving import MiddlewareOptions, service_of, split, wrapped
from probekit._web.standing import is_reloaded, will_serve
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from probekit._lifecycle.traffic import Traffic
    from probekit._web.endpoint import Endpoint
    from probekit._web.environ import Environ
    from probekit.probes import Probes

__all__ = ["EndpointOptions", "ProbeMiddleware", "WSGIApp"]

StartResponse: TypeAlias = "Callable[..., Any]"
WSGIApp: TypeAlias = "Callable[[dict[str, Any], StartResponse], Iterable[bytes]]"

logger: logging.Logger = logging.getLogger("probekit")


class ProbeMiddleware:
    """Answers the probes before the application sees them, and counts what it is busy with.

    It does what `probekit.asgi.ProbeMiddleware` does, with the same endpoints and options. The
    checks run concurrently here, too, on an event loop in a thread of its own. WSGI knows no
    lifespan: background checks and the watch for SIGTERM begin with the first request.

    ::

        app.wsgi_app = ProbeMiddleware(app.wsgi_app, probes=probes)   # Flask
        application = ProbeMiddleware(application, probes=probes)     # Django, any other

    Args:
        app: The application inside.
        probes: What to answer.
        **options: See `EndpointOptions`; and ``side_port``, on which all endpoints are answered
            once more while all threads are busy (with ``side_host``, ``"0.0.0.0"``). It is listened
            on from now on, or from the fork of a worker if this is the master of gunicorn.

    Raises:
        ConfigurationError: If an option cannot work, or the side port is not to be had.
    """

    def __init__(
        self, app: WSGIApp, *, probes: Probes, **options: Unpack[MiddlewareOptions]
    ) -> None:
        self._app = wrapped("WSGI", app)
        self._service = service = service_of(probes)
        endpoint_options, side = split(service, options, lends_loop=True)
        self._endpoints = Endpoints(service, **endpoint_options)
        service.traffic.counted = True
        service.traffic.threaded = True
        if side is None:
            return
        if not will_serve():
            side.listen_in_workers()
        elif is_reloaded():
            side.try_to_listen()  # whoever looks for changes may have been made to listen, too
        else:
            try:
                side.listen()
            except ConfigurationError:
                side.withdraw()  # or the first request would open what nobody asks for any more
                raise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request."""
        traffic = self._service.traffic
        if not traffic.asked_server and is_servers(environ):
            traffic.threads, traffic.asked_server = pool_size(environ), True
        if not self._service.served:
            self._begin()
        path = full_path(environ)
        found = self._endpoints.find(path, environ.get("SCRIPT_NAME", ""))
        start = self._marked(environ, start_response)
        if found is not None:
            return self._answer(found, environ, start)
        traffic.latest = now = traffic.clock()
        method: str = environ.get("REQUEST_METHOD", "GET")
        scope = {"method": method, "path": path, "thread": threading.get_ident()}
        traffic.requests[start] = scope, now  # the function is this request's alone
        try:
            inner = self._app(environ, start)
        except BaseException:
            del traffic.requests[start]
            raise
        return counted(inner, environ, traffic, lambda: traffic.requests.pop(start, None))

    def _answer(
        self, found: tuple[Endpoint, str], environ: Environ, start: StartResponse
    ) -> Iterable[bytes]:
        endpoint, tail = found
        request = request_of(environ, tail)
        try:
            response = endpoint.at_once(request)
            if response is None:
                response = PORTAL.run(lambda: endpoint.answer(request))
        except Exception:
            logger.exception("probekit failed to answer: its event loop is not to be had")
            response = endpoint.fault()
        status = HTTPStatus(response.status)
        headers = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
        start(f"{status.value} {status.phrase}", headers)
        return [] if request.method == "HEAD" else [response.body]

    def _begin(self) -> None:
        """Begin to serve, on the loop; no request fails where that cannot be."""

        async def begin() -> None:
            self._service.begin()

        try:
            PORTAL.run(begin)
        except Exception as error:
            self._service.not_begun(error)

    def _marked(self, environ: Environ, start_response: StartResponse) -> StartResponse:
        """Return a ``start_response`` that has the client close its connection in a drain."""
        drain = self._service.drain

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if drain.state is not None:
                headers = end_connection(environ, headers)
            return start_response(status, headers, exc_info)

        return start


def counted(
    inner: Iterable[bytes], environ: Environ, traffic: Traffic, done: Callable[[], object]
) -> Iterable[bytes]:
    """Return the body of a response; ``done`` is called when the server closes it.

    Servers look at what they are given: the length of a list is known, and a file can be sent by
    the kernel. So both stay what they are.
    """
    if type(inner) in {list, tuple}:
        return CountedList(inner, done)
    body = Counted(inner, traffic, done)
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(inner, wrapper):
        with suppress(AttributeError):  # a type that is written in C may take no attribute
            setattr(inner, "close", body.close)  # noqa: B010 - of no type that is known
            return inner
    return body


class Counted:
    """The body of a response, in flight until the server closes it.

    What is dropped unclosed, as Flask's test client does, is not in flight either.
    """

    def __init__(
        self, inner: Iterable[bytes], traffic: Traffic, done: Callable[[], object]
    ) -> None:
        self._inner = inner
        self._traffic = traffic
        self._close: Callable[[], object] | None = getattr(inner, "close", None)
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        traffic = self._traffic
        for part in self._inner:
            traffic.parts += 1  # two threads may lose one: that it is another number is enough
            yield part

    def close(self) -> None:
        """Close what is inside; servers call this at the end, however that comes."""
        try:
            if self._close is not None:
                self._close()
        finally:
            self._done()

    def __del__(self) -> None:
        self._done()


class CountedList(list[bytes]):
    """A whole body, in flight until the server closes it, or drops it: granian closes no list."""

    def __init__(self, inner: Iterable[bytes], done: Callable[[], object]) -> None:
        super().__init__(inner)
        self._done = done

    def close(self) -> None:
        """Note that it has been sent."""
        self._done()

    def __del__(self) -> None:
        self._done()
