"""A WSGI application whose requests wait for a lock until RELEASE is there.

SIDE_PORT is its side port, ON_STUCK what it does when it is stuck, DETAILS what it tells.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit import Probes
from probekit.wsgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONGEST = 20.0
"""Seconds that anything is held, whoever forgets it."""

release = Path(os.environ["RELEASE"])
lock = threading.Lock()
lock.acquire()


def let_go() -> None:
    """Give the lock back when RELEASE is there; whoever waits for it stands at one place."""
    while not release.exists():
        time.sleep(0.02)
    lock.release()


threading.Thread(target=let_go, daemon=True).start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at once, or wait for somebody who never gives the lock back."""
    if environ["PATH_INFO"] == "/lock" and lock.acquire(timeout=LONGEST):
        lock.release()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


on_stuck: Any = os.environ.get("ON_STUCK", "report")
details: Any = os.environ.get("DETAILS", "full")
probes = Probes(drain_delay=0, observers=[], stuck_after=1.0, on_stuck=on_stuck, exits_per_hour=1)
app = ProbeMiddleware(
    application,
    probes=probes,
    side_port=int(os.environ["SIDE_PORT"]),
    side_host="127.0.0.1",
    details=details,
)
