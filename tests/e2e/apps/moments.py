"""An application at an awkward moment: each variable of the environment brings one of them about.

It is plain ASGI, so that it starts quickly, and leaves notes of what it came to in NOTES.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from probekit import Probes
from probekit.asgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send

NOTES = Path(os.environ["NOTES"])
FOR_EVER = 3600.0
BLOCKED = 2.0


def note(what: str) -> None:
    """Leave a note of this process."""
    (NOTES / f"{os.getpid()}.{what}").touch()


def seconds(variable: str) -> float:
    """Return for how long something is to take."""
    return float(os.environ.get(variable, "0"))


def asleep() -> None:
    """Hang on a thread."""
    note("hanging")
    time.sleep(FOR_EVER)


async def patiently() -> None:
    """Hang on the loop."""
    note("hanging")
    await anyio.sleep(FOR_EVER)


HANGS: Mapping[str, Callable[[], Any]] = {"sync": asleep, "async": patiently}


def terminate(_signum: int, _frame: object) -> None:
    """Ask for the end from within a signal handler of the application's."""
    note("nested")
    signal.raise_signal(signal.SIGTERM)


async def lifespan(receive: Receive, send: Send) -> None:
    """Start, perhaps slowly, and note it; stop and note that."""
    await receive()
    note("starting")
    await anyio.sleep(seconds("STARTING"))
    await send({"type": "lifespan.startup.complete"})
    note("started")  # and the signal is armed
    await receive()
    note("stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def respond(path: str, send: Send) -> None:
    """Tell the process id, after blocking everything if that is asked for."""
    if path == "/block":
        note("blocking")
        time.sleep(BLOCKED)  # noqa: ASYNC251 - this is the moment
    status = 404 if path in {"/readyz", "/healthz"} else 200
    body = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Do what a server asks for."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await respond(scope["path"], send)


def protected() -> ASGIApp:
    """Return the application behind the middleware."""
    probes = Probes()
    if hang := os.environ.get("HANG"):
        probes.readiness(HANGS[hang], name="hung", timeout=0.2, critical=False)
    return ProbeMiddleware(application, probes=probes)


note("importing")
# As an application does whose log is read: what the drain tells stands in it.
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
logging.getLogger(asyncio.__name__).setLevel(logging.WARNING)
signal.signal(signal.SIGUSR2, terminate)
if thread := os.environ.get("THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=thread == "daemon").start()
app = application if "PLAIN" in os.environ else protected()
time.sleep(seconds("IMPORTING"))
