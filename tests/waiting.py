"""What everything that starts a server needs: a port, and patience with a limit."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PATIENCE", "free_port", "wait_until"]

PATIENCE = 15.0
"""Seconds that any server may take to start, to stop or to come round."""


def free_port(*, below: int = 65_536) -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        if port < below:
            return port


def wait_until(condition: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Is asked every 10 ms.
        what: What is waited for, for the error.
        patience: Seconds until it is given up.

    Raises:
        TimeoutError: It did not come true.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience} s")
        time.sleep(0.01)
