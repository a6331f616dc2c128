"""What everything that starts something needs: a port, a log, and patience with a limit."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import IO

__all__ = ["PATIENCE", "answering", "free_port", "log_of", "until", "wait_until"]

PATIENCE = 15.0
"""Seconds that any server may take to start, to stop or to come round."""


def free_port(*, below: int = 65_536) -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        if port < below:
            return port


@contextmanager
def answering(handler: type[socketserver.BaseRequestHandler]) -> Generator[int]:
    """Yield the port of a server in a thread, with a thread for each client."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


def log_of(file: IO[bytes]) -> str:
    """Return what a process has written so far to a file whose position it shares."""
    descriptor = file.fileno()
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


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


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; on any event loop.

    Raises:
        TimeoutError: It did not come true.
    """
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.005)
