"""Servers that are probed from beside, whether they stand still or not."""

from __future__ import annotations

import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import tests.side
from tests.e2e.clients import get
from tests.e2e.servers import lasting_port, serve
from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from tests.alive._beside import Beside
    from tests.e2e.clients import Answer
    from tests.e2e.servers import Server

__all__ = ["SIDE", "THREADS", "THRESHOLD", "beside_says", "first", "on_gthread", "send"]

SIDE = Path(tests.side.__path__[0]) / "apps"
THREADS = 4
GTHREAD = ("-w", "1", "--threads", str(THREADS), "--no-control-socket")
THRESHOLD = 1.0
"""Seconds: ``stuck_after`` of what may stand still."""


@contextmanager
def on_gthread(app: str, **environ: str) -> Iterator[tuple[Server, int]]:
    """Run an application on threads, and yield its side port, too."""
    side = lasting_port()
    environ |= {"SIDE_PORT": str(side)}
    with serve(
        SIDE / app, "gunicorn-gthread", *GTHREAD, port=None, measured=False, **environ
    ) as server:
        first(side, 200)
        yield server, side


def send(clients: ExitStack, server: Server, path: str) -> None:
    """Ask for something, and do not wait for the answer."""
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    clients.enter_context(client)
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())


def first(port: int, status: int) -> Answer:
    """Return the first answer to ``/healthz`` with that status."""
    found: list[Answer] = []

    def asked() -> bool:
        with suppress(OSError):
            found.append(get(port, "/healthz"))
        return bool(found) and found[-1].status == status

    wait_until(asked, f"/healthz answers {status}")
    return found[-1]


def beside_says(beside: Beside, state: str, end: str = "") -> list[int]:
    """Return the workers of which the command says this."""
    found = get(beside.port, "/healthz").json()["workers"]
    return [each["pid"] for each in found if each["state"] == state and each["text"].endswith(end)]
