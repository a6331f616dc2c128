"""A WSGI application whose requests hold their threads until that is noticed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from probekit import Probes
from probekit.wsgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LONGEST = 15.0
"""Seconds that anything is held, whoever forgets it."""

probes = Probes(observers=[], drain_delay=0, stuck_after=1.0)


def work(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Take 0.4 s, or until the process is stuck, or send for 3 s; tell in what it was stuck."""
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return parts()
    began = time.monotonic()
    longest = LONGEST if environ["PATH_INFO"] == "/hold" else 0.4
    while probes.stall is None and time.monotonic() - began < longest:
        time.sleep(0.2)  # who wakes often waits often for a CPU, and may be taken for starved
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(probes.stall).encode()]


def parts() -> Iterator[bytes]:
    """Send the process's stall again and again, for thrice as long as it takes to be stuck."""
    for _ in range(30):
        time.sleep(0.1)
        yield f"{probes.stall} ".encode()


app = ProbeMiddleware(work, probes=probes)
