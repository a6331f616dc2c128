"""A Flask application with a check that hangs in the way that HANG says; "" hangs nowhere."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from flask import Flask, Response

import probekit.flask
from probekit import Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOR_EVER = 3600.0


async def patiently() -> None:
    """Await what never comes."""
    await asyncio.sleep(FOR_EVER)


def asleep() -> None:
    """Sleep on the thread."""
    time.sleep(FOR_EVER)


async def stubbornly() -> None:
    """Swallow every cancellation."""
    while True:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            continue


async def healthy() -> None:
    """Be well."""


def ten_ms() -> None:
    """Take 10 ms, as a query does."""
    time.sleep(0.01)


HANGS: Mapping[str, Callable[[], Any]] = {
    "async": patiently,
    "sync": asleep,
    "stubborn": stubbornly,
    "": healthy,
}

app = Flask(__name__)
hung = Probes(name="hung", drain_delay=0)
hung.readiness(healthy)
hung.readiness(HANGS[os.environ.get("HANG", "")], name="hung", timeout=0.5)

ten = Probes(name="ten", drain_delay=0)
for number in range(10):
    ten.readiness(ten_ms, name=f"check-{number}", max_age=0)


@app.get("/")
def root() -> str:
    """Answer on a thread of the server's."""
    return "sync"


@app.get("/bare")
def bare() -> Response:
    """Answer as little JSON as a liveness probe."""
    return Response(b'{"status": "healthy"}\n', mimetype="application/json")


@app.get("/threads")
def threads() -> list[str]:
    """Name the threads of this process."""
    return [thread.name for thread in threading.enumerate()]


probekit.flask.init_app(app, hung)
app.wsgi_app = probekit.wsgi.ProbeMiddleware(  # type: ignore[method-assign] # documented
    app.wsgi_app,
    probes=ten,
    liveness_path="/ten/healthz",
    readiness_path="/ten/readyz",
    startup_path="/ten/startupz",
    drain_path=None,
)
