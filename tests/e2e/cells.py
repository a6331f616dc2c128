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
        on: A key of `tests.e2e.servers.SERVERS`.
        options: Further arguments of the server.
        workers: In how many processes the lifespan runs.
        status: The exit status after SIGTERM, as a shell counts.
        ci: Whether every change is tried on it.
        hurried: Why the server's own limits cut the drain, so that nothing is expected of it.
    """

    on: str
    options: tuple[str, ...] = ()
    workers: int = 1
    status: int = 0
    ci: bool = False
    hurried: str = ""


def workers(count: int, *options: str) -> tuple[str, ...]:
    """Return the options for so many workers."""
    return ("--workers", str(count), *options)


KILL = ("--workers-kill-timeout", "1")
KILLED = "--workers-kill-timeout is shorter than the drain"
LIMIT = ("--timeout-graceful-shutdown", "2")
RELOAD = ("--reload", "--reload-dir", str(APPS))
GUNICORN_ASYNCIO = ("--asgi-loop", "asyncio")
GUNICORN_UVLOOP = ("--asgi-loop", "uvloop")

CELLS: Mapping[str, Cell] = {
    "uvicorn/asyncio": Cell("uvicorn-asyncio", status=TERMINATED, ci=True),
    "uvicorn/uvloop": Cell("uvicorn-uvloop", status=TERMINATED, ci=True),
    "uvicorn/workers2": Cell("uvicorn-uvloop", workers(2), workers=2, ci=True),
    "uvicorn/workers2-asyncio": Cell("uvicorn-asyncio", workers(2), workers=2),
    "uvicorn/limit": Cell("uvicorn-uvloop", LIMIT, status=TERMINATED),
    "uvicorn/limit-workers2": Cell("uvicorn-uvloop", workers(2, *LIMIT), workers=2),
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
    "hypercorn/asyncio-w1": Cell("hypercorn-asyncio", workers(1)),
    "hypercorn/asyncio-w2": Cell("hypercorn-asyncio", workers(2), workers=2),
    "hypercorn/uvloop-w2": Cell("hypercorn-uvloop", workers(2), workers=2),
    "hypercorn/trio-w1": Cell("hypercorn-trio", workers(1)),
    "hypercorn/trio-w2": Cell("hypercorn-trio", workers(2), workers=2),
    "granian/1": Cell("granian-uvloop", workers(1), ci=True),
    "granian/2": Cell("granian-uvloop", workers(2), workers=2, ci=True),
    "granian/1-asyncio": Cell("granian-asyncio", workers(1)),
    "granian/2-asyncio": Cell("granian-asyncio", workers(2), workers=2),
    "granian/1-kill": Cell("granian-uvloop", workers(1, *KILL), hurried=KILLED),
    "granian/2-kill": Cell("granian-uvloop", workers(2, *KILL), workers=2, hurried=KILLED),
    "daphne": Cell("daphne", workers=0, ci=True),
}
"""By the names that `scripts/rolling` takes."""
