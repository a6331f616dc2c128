"""A Flask application as the servers load it; variables say what its checks do."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request, send_file

import probekit.flask
from probekit import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator

FOR_EVER = 3600.0

probes = Probes(name="shop")


TIME = 0.0 if "QUICK" in os.environ else 0.3
"""Seconds that a check takes."""


@probes.readiness(max_age=0)
def first() -> None:
    """Take its time."""
    time.sleep(TIME)


@probes.readiness(max_age=0)
async def second() -> None:
    """Take its time on the loop."""
    await asyncio.sleep(TIME)


@probes.readiness
def größe() -> None:
    """Have a name beyond ASCII."""


match os.environ.get("HANG"):
    case "sync":

        @probes.readiness(timeout=0.5)
        def hung() -> None:
            """Never return."""
            time.sleep(FOR_EVER)

    case "async":

        @probes.readiness(timeout=0.5, name="hung")
        async def hung_on_the_loop() -> None:
            """Never return."""
            await asyncio.sleep(FOR_EVER)


def create_app() -> Flask:
    """Make the application."""
    app = Flask(__name__)
    app.wsgi_app = with_list(app.wsgi_app, "/list")  # type: ignore[method-assign] # documented
    probekit.flask.init_app(app, probes)

    @app.get("/")
    def root() -> str:
        return str(os.getpid())

    @app.get("/slow")
    def slow() -> str:
        time.sleep(float(request.args.get("for", "1")))
        return "late"

    @app.get("/stream")
    def stream() -> Response:
        def parts() -> Iterator[str]:
            while True:
                yield "part" * 10_000
                time.sleep(0.01)

        return Response(parts())

    @app.get("/file")
    def file() -> Response:
        return send_file(__file__)

    @app.get("/fails")
    def fails() -> str:
        raise ValueError("no")

    @app.get("/pool")
    def pool() -> dict[str, Any]:
        traffic = probes.service.traffic
        scopes = [scope for scope, _ in traffic.requests.values()]
        here = any(scope["thread"] == threading.get_ident() for scope in scopes)
        return {"threads": traffic.threads, "here": here}

    @app.get("/threads")
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    return app


def with_list(inner: Any, path: str) -> Any:
    """Answer ``path`` with a mere list, as small applications do."""

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != path:
            return inner(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"all of it"]

    return outer


def wrapped(inner: Any) -> Any:
    """Put a start_response of its own before the server's, as tracing does."""

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Wrapped", "yes")], exc_info)

        return inner(environ, start)

    return outer


app = create_app()
app.wsgi_app = with_list(app.wsgi_app, "/bare-list")  # type: ignore[method-assign] # documented
if "ASKS_ITSELF" in os.environ:
    app.test_client().get("/healthz")
if "WRAPPED" in os.environ:
    app.wsgi_app = wrapped(app.wsgi_app)  # type: ignore[method-assign] # documented
