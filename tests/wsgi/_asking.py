"""Asking a WSGI application as a server does, and being strict about what it does in turn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from tests.e2e.clients import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probekit.wsgi import WSGIApp

__all__ = ["Answer", "Asker", "ask", "environ_of"]


class Asker:
    """What a server is to one request: it takes the start of the response, and closes its body."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.exc_info: Any = None
        self.written: list[bytes] = []

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Take the status and the headers."""
        self.status, self.headers, self.exc_info = status, headers, exc_info
        return self.written.append

    def finish(self, body: Iterable[bytes]) -> Answer:
        """Read the body to its end and close it."""
        try:
            parts = list(body)
            content = b"".join([*self.written, *parts])
        finally:
            getattr(body, "close", lambda: None)()
        names = {name.lower(): value for name, value in self.headers}
        return Answer(int(self.status[:3]), names, content)


def environ_of(path: str, method: str = "GET", body: bytes = b"", **more: Any) -> dict[str, Any]:
    """Return what a server says of a request from this machine."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(body),
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ |= more
    setup_testing_defaults(environ)
    return environ


def ask(app: WSGIApp, path: str, method: str = "GET", body: bytes = b"", **more: Any) -> Answer:
    """Ask an application for a path; what else the environ should hold goes by its name."""
    asker = Asker()
    return asker.finish(app(environ_of(path, method, body, **more), asker.start_response))
