"""Every way to hold an event loop or a thread, a twentieth of a second at a time."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HOLDS", "compute"]

lock = threading.Lock()
lock.acquire()
near, far = socket.socketpair()
near.settimeout(0.05)


def compute(seconds: float = 0.05) -> None:
    """Use the CPU, not the clock: a busy machine makes it longer."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def receive() -> None:
    """Wait for a message that does not come."""
    try:
        near.recv(1)
    except TimeoutError:
        return


HOLDS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(0.05),
    "compute": compute,
    "acquire": lambda: lock.acquire(timeout=0.05),
    "receive": receive,
}
