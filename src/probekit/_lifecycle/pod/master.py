"""Which processes belong together: those that one master has started.

A worker that is started anew belongs to them, a server that is started anew does not, and two
containers that share a directory do not belong together either. The process id alone tells none of
that: containers begin to count at 1, namespaces are given out again, and two machines of the same
cluster start at the same tick.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

from probekit._lifecycle.main_thread import greenlets
from probekit._lifecycle.pod.key import Key, start_time, this_machine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

__all__ = [
    "Key",
    "find_key",
    "find_scope",
    "gunicorn_arbiter",
    "in_gunicorn_master",
    "master_pid",
    "start_time",
]

SCOPES = ("pod", "container", "process")
VARIABLE = "PROBEKIT_SCOPE"


def find_key(scope: str = "pod") -> Key:
    """Return the key of this process's server.

    Args:
        scope: ``"pod"``, or ``"container"`` for all the servers of a container together.

    Raises:
        OSError: If this system has no /proc that tells.
    """
    pid = 1 if scope == "container" else master_pid()
    boot, namespace = this_machine()
    started = start_time(pid)
    if started is None:
        raise ProcessLookupError(f"process {pid}, which started this one, is gone")
    return Key(boot, namespace, pid, started)


def find_scope(environment: Mapping[str, str]) -> str:
    """Return how far the state of a drain reaches, as the environment says.

    Raises:
        ValueError: If it says what there is not.
    """
    scope = environment.get(VARIABLE, "pod")
    if scope not in SCOPES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(SCOPES)}, got {scope!r}")
    return scope


def master_pid() -> int:
    """Return the process that starts the workers: this one, if nobody else does."""
    uwsgi = sys.modules.get("uwsgi")  # only inside the server there is such a module
    if uwsgi is not None and (pid := uwsgi.masterpid()):
        return int(pid)
    # uvicorn, granian and hypercorn start theirs with multiprocessing; getppid() would be wrong
    # where that has a fork server.
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and (parent := processes.parent_process()) is not None:
        return int(parent.pid)
    return gunicorn_arbiter() or os.getpid()


def gunicorn_arbiter() -> int | None:
    """Return the id of gunicorn's master if this is a worker of it.

    Its workers are forked in a method whose frame stays at the bottom of the main thread's stack.
    With ``--preload`` the application is loaded before that, in the master.
    """
    if "gunicorn.arbiter" not in sys.modules:
        return None
    # Where the main thread is, and where its first greenlet is. Looked up here: of a function that
    # has returned, or of a generator that waits, nobody could tell who called it.
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, for debuggers
    for frame in (frames.get(threading.main_thread().ident or 0), first_greenlet()):
        while frame is not None:
            if frame.f_code.co_name == "spawn_worker" and "gunicorn" in frame.f_globals["__name__"]:
                return int(frame.f_locals["self"].pid)
            frame = frame.f_back
    return None


def in_gunicorn_master() -> bool:
    """Whether gunicorn's master loads the application now, before it forks (``--preload``)."""
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage] - documented
    found = False
    while frame is not None:
        if frame.f_globals.get("__name__") == "gunicorn.arbiter":
            if frame.f_code.co_name == "spawn_worker":
                return False
            found = True
        frame = frame.f_back
    return found


def first_greenlet() -> FrameType | None:
    """Return where the first greenlet of this thread waits, if gevent made threads greenlets.

    Elsewhere nobody is asked: to look would give a thread greenlets that has none, and what that
    leaves behind is cleared away by a thread that it has nothing to do with.
    """
    greenlet: Any = sys.modules.get("greenlet")
    if greenlet is None or not greenlets():
        return None
    first = greenlet.getcurrent()
    while first.parent is not None:
        first = first.parent
    return cast("FrameType | None", first.gr_frame)
