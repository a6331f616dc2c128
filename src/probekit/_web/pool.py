"""How many requests a WSGI server handles at once in this process."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from probekit._lifecycle.main_thread import free_threaded, greenlets
from probekit._web.environ import gunicorn_request, waitress_channel

if TYPE_CHECKING:
    from types import FrameType

    from probekit._web.environ import Environ

__all__ = ["is_servers", "pool_size"]


def is_servers(environ: Environ) -> bool:
    """Whether a request comes from a server, and not from a test client inside the process.

    What a test client says of threads is true of itself alone: Flask's and Django's say that there
    is one. Neither has a name; every server has, even if only to say that it is a secret.
    """
    return "SERVER_SOFTWARE" in environ or "uwsgi.version" in environ


def pool_size(environ: Environ) -> int | None:
    """Return how many requests this process handles at once; on the thread of a request.

    Args:
        environ: Of the request.

    Returns:
        None where nobody knows: greenlets, a thread for each request, a server of another kind.
    """
    server: str = (environ.get("SERVER_SOFTWARE") or "").lower()
    # gevent's own server says that it has one thread, and that is true.
    if greenlets() or server.startswith("gevent"):
        return None
    if not environ.get("wsgi.multithread", True):
        return 1
    if server.startswith("gunicorn"):
        return gunicorn_threads()
    if server.startswith("granian"):
        return granian_threads()
    return count(getattr(getattr(waitress_channel(environ), "adj", None), "threads", None))


def gunicorn_threads() -> int | None:
    """Return the size of the pool of a worker that has one; others read the option, too."""
    frame = gunicorn_request()
    worker = None if frame is None else frame.f_locals.get("self")
    if any(base.__module__ == "gunicorn.workers.gthread" for base in type(worker).__mro__):
        return count(getattr(getattr(worker, "cfg", None), "threads", None))
    return None


def granian_threads() -> int | None:
    """Return the size of the pool that granian has made in Rust for this worker.

    Its worker is told so by an argument of the function that the main thread stays in, whose stack
    is out of reach on a free-threaded build.
    """
    if free_threaded():
        return None
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, for debuggers
    frame: FrameType | None = frames.get(threading.main_thread().ident or 0)
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "_spawn_wsgi_worker" and module.startswith("granian."):
            return count(frame.f_locals.get("blocking_threads"))
        frame = frame.f_back
    return None


def count(value: Any) -> int | None:
    """Return ``value`` if it is a number of threads."""
    return value if isinstance(value, int) and value > 0 else None
