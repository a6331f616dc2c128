"""What a WSGI server says of a request, and how each server is told to end a connection."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from probekit._core.own_thread import on_own_thread
from probekit._web.message import Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

__all__ = [
    "Environ",
    "end_connection",
    "full_path",
    "gunicorn_request",
    "request_of",
    "waitress_channel",
]

Environ: TypeAlias = "dict[str, Any]"

WITHOUT_HTTP = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}


def full_path(environ: Environ) -> str:
    """Return the path that was asked for, with what a server or a mount has split off."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if path.isascii():
        return path
    # The standard wants the bytes of the path, each as one character.
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def request_of(environ: Environ, tail: str) -> Request:
    """Return the request that ``environ`` describes, for an endpoint."""
    headers = {
        WITHOUT_HTTP.get(key, key[5:].replace("_", "-").lower()): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_") or (key in WITHOUT_HTTP and value)
    }

    async def body(limit: int) -> bytes | None:
        # Not on the loop: a client that sends half of it would hold up everybody's probes.
        return await on_own_thread(read_body, environ, limit)

    return Request(
        method=environ["REQUEST_METHOD"],
        tail=tail,
        query=environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
        # A middleware may have put anything there.
        headers=[
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in (removed_headers(environ) | headers).items()
        ],
        client=environ.get("REMOTE_ADDR") or None,
        body=body,
    )


def read_body(environ: Environ, limit: int) -> bytes | None:
    """Return the body of a request; None if it is longer than ``limit`` bytes, or broke off."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return None
    if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH"):
        # Its end is where the input ends, if the server sees to that.
        if not environ.get("wsgi.input_terminated"):
            return None
        content = read(environ, limit + 1)
        return None if content is None or len(content) > limit else content
    if not 0 <= length <= limit:
        return None
    content = read(environ, length)
    return None if content is None or len(content) < length else content


def read(environ: Environ, length: int) -> bytes | None:
    """Return ``length`` bytes of the input, fewer where it ends before, None if it broke off."""
    content = b""
    try:
        while len(content) < length and (more := environ["wsgi.input"].read(length - len(content))):
            content += more
    except OSError:  # the client is gone, or sends what is no chunk
        return None
    return content


def removed_headers(environ: Environ) -> dict[str, str]:
    """Return the headers that the server has taken out of a request, as far as it is known.

    waitress removes those of a proxy that it was not told to trust. But by them a proxy on this
    machine betrays itself, whose clients would all seem to be on this machine otherwise.
    """
    request = waitress_request(environ)
    given: Mapping[str, str] = {} if request is None else request.headers
    return {name.replace("_", "-").lower(): value for name, value in given.items()}


def end_connection(environ: Environ, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Have the client's connection closed after this response, if there is a way.

    The standard keeps the header ``Connection`` for the server: gunicorn drops it, waitress refuses
    the whole response. Either can be told in its own way. werkzeug's server closes every connection
    anyway. Of other servers nothing is known, and they are not told.

    Args:
        environ: Of the request.
        headers: Of the response.

    Returns:
        The headers to send.
    """
    server: str = (environ.get("SERVER_SOFTWARE") or "").lower()
    if server.startswith("gunicorn"):
        if (response := gunicorn_response()) is not None:
            response.force_close()
    elif (request := waitress_request(environ)) is not None:
        request.headers["CONNECTION"] = "close"
    elif server.startswith("granian") and environ.get("SERVER_PROTOCOL", "").startswith("HTTP/1"):
        others = [pair for pair in headers if pair[0].lower() != "connection"]
        return [*others, ("Connection", "close")]
    return headers


def gunicorn_response() -> Any:
    """Return what gunicorn will write of the request on this thread, or None.

    It is a local variable of the worker's; ``start_response`` is bound to it, but may have come
    here through somebody's middleware.
    """
    frame = gunicorn_request()
    return None if frame is None else frame.f_locals["resp"]


def gunicorn_request() -> FrameType | None:
    """Return where gunicorn's worker handles the request on this thread, or None."""
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage] - documented
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "handle_request" and module.startswith("gunicorn."):
            return frame
        frame = frame.f_back
    return None


def waitress_request(environ: Environ) -> Any:
    """Return waitress's own idea of this request, or None; the standard knows none."""
    return next(iter(getattr(waitress_channel(environ), "requests", ())), None)


def waitress_channel(environ: Environ) -> Any:
    """Return waitress's connection to the client, or None."""
    return getattr(environ.get("waitress.client_disconnected"), "__self__", None)
