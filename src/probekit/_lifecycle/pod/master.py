"""Which processes belong together: those that one master has started.

A worker that is started anew belongs to them, a server that is started anew does not, and two
containers that share a directory do not belong together either. The process id alone tells none of
that: containers begin to count at 1, namespaces are given out again, and two machines of the same
cluster start at the same tick.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

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
    scope = environment.get(VARIABLE) or "pod"
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


_arbiters: dict[int, int] = {}
"""By worker, so that a child of a worker's own takes nothing over."""


def gunicorn_arbiter() -> int | None:
    """Return the id of gunicorn's master if this is a worker of it.

    Its workers are forked in a method whose frame stays at the bottom of the main thread's stack,
    and of no other. So it is looked for when a worker is forked, and when it loads this module, in
    its main thread: to ask for another's stack would stop the world on a free-threaded build.
    With ``--preload`` the application is loaded before the fork, in the master.
    """
    own = os.getpid()
    if own not in _arbiters and "gunicorn.arbiter" in sys.modules:
        frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage] - documented
        while frame is not None:
            if frame.f_code.co_name == "spawn_worker" and "gunicorn" in frame.f_globals["__name__"]:
                _arbiters[own] = int(frame.f_locals["self"].pid)
                break
            frame = frame.f_back
    return _arbiters.get(own)


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


gunicorn_arbiter()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gunicorn_arbiter)
