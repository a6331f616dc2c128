"""A drain of all workers: how soon after the POST's answer the last of four says 503."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from threading import Event

from tests.e2e.clients import get
from tests.pod._servers import SERVERS, Running

from benchmarks.figures import Figure

__all__ = ["pod"]

ROUNDS = 20
ASKERS = 3
BEFORE = 0.05
"""Seconds for which probes come before the POST, so that every worker has just looked."""
AFTER = 0.15
"""Seconds for which they come after it."""
VOLLEY = 200
TARGET = 0.05


def pod() -> list[Figure]:
    """Measure every server with four workers."""
    return [figure for kind in SERVERS for figure in measure(kind)]


def measure(kind: str) -> list[Figure]:
    """Drain one server again and again."""
    late: list[float] = []
    asked: list[int] = []
    with tempfile.TemporaryDirectory() as runtime, Running(kind, Path(runtime)) as server:
        for number in range(ROUNDS):
            server.undrain()
            server.settle(200, "all take work")
            seconds, count = after_post(server)
            late.append(seconds)
            asked.append(count)
            if number == 0:
                answered = server.codes(VOLLEY)
    how = f"{ROUNDS} POSTs, {median(asked):.0f} fresh connections in {AFTER:g} s after each"
    return [
        Figure(
            name=f"{kind}: last 200 after the POST, p50",
            measured=median(late) * 1000,
            unit="ms",
            how=how,
        ),
        Figure(
            name=f"{kind}: last 200 after the POST, worst",
            measured=max(late) * 1000,
            unit="ms",
            target=TARGET * 1000,
            how=f"then {answered[503]} of {VOLLEY} were 503",
        ),
    ]


def after_post(server: Running) -> tuple[float, int]:
    """Return the seconds after which nobody was told 200 any more, and how many asked."""
    done = Event()
    seen: list[tuple[float, int]] = []

    def keep_asking() -> None:
        while not done.is_set():
            asked = time.monotonic()
            seen.append((asked, get(server.port, "/readyz").status))

    with ThreadPoolExecutor(ASKERS) as askers:
        asking = [askers.submit(keep_asking) for _ in range(ASKERS)]
        time.sleep(BEFORE)
        server.drain()
        drained = time.monotonic()
        time.sleep(AFTER)
        done.set()
        for asker in asking:
            asker.result(10)
    after = [(asked - drained, status) for asked, status in seen if asked >= drained]
    return max((seconds for seconds, status in after if status == 200), default=0.0), len(after)
