"""WSGI servers as subprocesses: the command lines, and what their processes are."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.servers import Server
from tests.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["APPS", "DELAY", "SERVERS", "running", "serve", "workers"]

APPS = Path(__file__).parent / "apps"
DELAY = 1.0
"""Seconds for which SIGTERM is held back."""


def gunicorn(kind: str, *options: str) -> Callable[[str, int], list[str]]:
    """Return what makes the command line of gunicorn with such workers."""
    return lambda app, port: [
        *("gunicorn", f"{app}:app", "--bind", f"127.0.0.1:{port}"),
        *("--no-control-socket", "-k", kind, *options),
    ]


def granian(count: int) -> Callable[[str, int], list[str]]:
    """Return what makes the command line of granian with so many workers."""
    return lambda app, port: [
        *("granian", f"{app}:app", "--interface", "wsgi", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(count), "--blocking-threads", "4"),
    ]


SERVERS: Mapping[str, Callable[[str, int], list[str]]] = {
    "gunicorn-sync": gunicorn("sync", "-w", "2"),
    "gunicorn-gthread": gunicorn("gthread", "-w", "1", "--threads", "4"),
    "gunicorn-gthread-preload": gunicorn("gthread", "-w", "1", "--threads", "4", "--preload"),
    "gunicorn-gthread-limited": gunicorn("gthread", "--threads", "4", "--graceful-timeout", "3"),
    "gunicorn-gthread-8-threads": gunicorn("gthread", "-w", "1", "--threads", "8"),
    "gunicorn-gthread-4": gunicorn("gthread", "-w", "4", "--threads", "4"),
    "gunicorn-gthread-4-preload": gunicorn("gthread", "-w", "4", "--threads", "4", "--preload"),
    "gunicorn-gevent": gunicorn("gevent"),
    "gunicorn-gevent-preload": gunicorn("gevent", "--preload", "-c", str(APPS / "patched.py")),
    "waitress": lambda app, port: ["waitress", f"--listen=127.0.0.1:{port}", f"{app}:app"],
    "werkzeug": lambda app, port: ["flask", "--app", app, "run", "--port", str(port)],
    "werkzeug-reload": lambda app, port: [
        *("flask", "--app", app, "run", "--port", str(port), "--reload")
    ],
    "granian": granian(1),
    "granian-2": granian(2),
}
"""The command lines, after ``python -m``, by name."""


def serve(
    on: str,
    app: str = "shop",
    *,
    port: int | None = None,
    measured: bool = True,
    **environ: str,
) -> Server:
    """Return a server, not yet started, for an application of `APPS`."""
    port = port or free_port()
    paths = [str(APPS), os.environ.get("PYTHONPATH")]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environ.setdefault("PROBEKIT_DRAIN_DELAY", str(DELAY))
    command = [sys.executable, "-m", *SERVERS[on](app, port)]
    return Server(command, port=port, measured=measured, **environ)


def workers(server: Server) -> list[int]:
    """Return the processes that a server has started and that have not ended."""
    with suppress(OSError):
        pid = server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]
    return []


def running(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()
