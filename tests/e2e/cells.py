"""The servers and modes on which a rolling restart is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .servers import APPS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CELLS", "Cell"]

TERMINATED = 143
"""The exit status, for a shell, of what ends by SIGTERM."""


class Cell(NamedTuple):
    """A server in one mode.

    Args:
        on: A key of `tests.e2e.servers.SERVERS` or `WSGI_SERVERS`.
        options: Further arguments of the server.
        workers: In how many processes the lifespan runs.
        status: The exit status after SIGTERM, as a shell counts.
        ci: Whether every change is tried on it.
        hurried: Why the server's own limits cut the drain, so that nothing is expected of it.
        late: For how many seconds the server itself may keep the signal from its workers.
        app: The application, in `tests.e2e.servers.APPS`.
    """

    on: str
    options: tuple[str, ...] = ()
    workers: int = 1
    status: int = 0
    ci: bool = False
    hurried: str = ""
    late: float = 0.0
    app: str = "rolling"


def workers(count: int, *options: str) -> tuple[str, ...]:
    """Return the options for so many workers."""
    return ("--workers", str(count), *options)


def wsgi(on: str, *options: str, ci: bool = False, hurried: str = "") -> Cell:
    """Return a cell for the application that knows no lifespan."""
    return Cell(on, options, workers=0, ci=ci, hurried=hurried, app="rolling_wsgi")


SUPERVISOR = 0.5
"""Seconds between two looks of uvicorn's supervisor for signals, which it then passes on."""
EVENT = 0.1
"""Seconds between two looks of hypercorn's workers at an event of the master's."""

KILL = ("--workers-kill-timeout", "1")
KILLED = "--workers-kill-timeout is shorter than the drain"
LIMIT = ("--timeout-graceful-shutdown", "2")
RELOAD = ("--reload", "--reload-dir", str(APPS))
RELOADED = "the reloader kills its child"
GTHREAD = ("--threads", "8", *workers(1))
GTHREAD_2 = ("--threads", "8", *workers(2))
SYNC = workers(8)
"""Fewer would all be busy with slow requests, and the balancer's health check would wait."""
GRANIAN = ("--blocking-threads", "12")
GUNICORN_ASYNCIO = ("--asgi-loop", "asyncio")
GUNICORN_UVLOOP = ("--asgi-loop", "uvloop")

CELLS: Mapping[str, Cell] = {
    "uvicorn/asyncio": Cell("uvicorn-asyncio", status=TERMINATED, ci=True),
    "uvicorn/uvloop": Cell("uvicorn-uvloop", status=TERMINATED, ci=True),
    "uvicorn/workers2": Cell("uvicorn-uvloop", workers(2), workers=2, ci=True, late=SUPERVISOR),
    "uvicorn/workers2-asyncio": Cell("uvicorn-asyncio", workers(2), workers=2, late=SUPERVISOR),
    "uvicorn/limit": Cell("uvicorn-uvloop", LIMIT, status=TERMINATED),
    "uvicorn/limit-workers2": Cell(
        "uvicorn-uvloop", workers(2, *LIMIT), workers=2, late=SUPERVISOR
    ),
    "uvicorn/reload": Cell("uvicorn-uvloop", RELOAD),
    "gunicorn/uvicorn-worker": Cell("gunicorn-uvicorn", workers(2), workers=2, ci=True),
    "gunicorn/uvicorn-worker-w1": Cell("gunicorn-uvicorn", workers(1)),
    "gunicorn/uvicorn-worker-preload": Cell("gunicorn-uvicorn", workers(2, "--preload"), workers=2),
    "gunicorn/asgi": Cell("gunicorn-asgi", workers(2, *GUNICORN_ASYNCIO), workers=2, ci=True),
    "gunicorn/asgi-w1": Cell("gunicorn-asgi", workers(1, *GUNICORN_ASYNCIO)),
    "gunicorn/asgi-uvloop": Cell("gunicorn-asgi", workers(2, *GUNICORN_UVLOOP), workers=2),
    "gunicorn/asgi-preload": Cell(
        "gunicorn-asgi", workers(2, "--preload", *GUNICORN_ASYNCIO), workers=2
    ),
    "hypercorn/asyncio": Cell("hypercorn-asyncio", workers(0), ci=True),
    "hypercorn/uvloop": Cell("hypercorn-uvloop", workers(0)),
    "hypercorn/trio": Cell("hypercorn-trio", workers(0), ci=True),
    "hypercorn/asyncio-w1": Cell("hypercorn-asyncio", workers(1), late=EVENT),
    "hypercorn/asyncio-w2": Cell("hypercorn-asyncio", workers(2), workers=2, late=EVENT),
    "hypercorn/uvloop-w2": Cell("hypercorn-uvloop", workers(2), workers=2, late=EVENT),
    "hypercorn/trio-w1": Cell("hypercorn-trio", workers(1), late=EVENT),
    "hypercorn/trio-w2": Cell("hypercorn-trio", workers(2), workers=2, late=EVENT),
    "granian/1": Cell("granian-uvloop", workers(1), ci=True),
    "granian/2": Cell("granian-uvloop", workers(2), workers=2, ci=True),
    "granian/1-asyncio": Cell("granian-asyncio", workers(1)),
    "granian/2-asyncio": Cell("granian-asyncio", workers(2), workers=2),
    "granian/1-kill": Cell("granian-uvloop", workers(1, *KILL), hurried=KILLED),
    "granian/2-kill": Cell("granian-uvloop", workers(2, *KILL), workers=2, hurried=KILLED),
    "daphne": Cell("daphne", workers=0, ci=True),
    "wsgi/gthread-w1": wsgi("gunicorn-gthread", *GTHREAD, ci=True),
    "wsgi/gthread-w2": wsgi("gunicorn-gthread", *GTHREAD_2),
    "wsgi/gthread-preload": wsgi("gunicorn-gthread", *GTHREAD_2, "--preload"),
    "wsgi/sync-w4": wsgi("gunicorn-sync", *workers(4)),
    "wsgi/sync-w8": wsgi("gunicorn-sync", *SYNC),
    "wsgi/sync-preload": wsgi("gunicorn-sync", *SYNC, "--preload"),
    "wsgi/gevent": wsgi("gunicorn-gevent", *workers(2)),
    "wsgi/granian-1": wsgi("granian-wsgi", *GRANIAN, *workers(1), ci=True),
    "wsgi/granian-2": wsgi("granian-wsgi", *GRANIAN, *workers(2)),
    "wsgi/waitress": wsgi("waitress", "--threads=12", ci=True),
    "wsgi/werkzeug": wsgi("werkzeug"),
    "wsgi/werkzeug-reload": wsgi("werkzeug", "--reload", hurried=RELOADED),
}
"""By the names that `scripts/rolling` takes."""
