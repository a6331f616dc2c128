"""Peers that are no probekit: each answers in its own wrong way."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self, TypeAlias

    Script: TypeAlias = Callable[["Peer", socket.socket], None]

CERTIFICATE = Path(__file__).parent / "localhost.pem"
"""For 127.0.0.1 and localhost, with its key; it certifies nothing but itself."""


def answer(status: str, body: str, *headers: str, length: int | None = None) -> bytes:
    """Return a response; ``length`` is what it claims to have, if it lies."""
    size = len(body.encode()) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", body]
    return "\r\n".join(lines).encode()


def state(**fields: Any) -> str:
    """Return the body of a healthy answer, with these fields instead."""
    idle: dict[str, Any] = {
        "draining": None,
        "in_flight": {"requests": 0, "websockets": 0},
        "sigterm": "armed",
        "drain_delay": 5.0,
    }
    return json.dumps(idle | fields)


def drain(**fields: Any) -> dict[str, Any]:
    """Return a drain as it is sent, with these fields instead."""
    begun = {"reason": "", "by": "", "since": "2026-11-21T03:25:34Z", "until": None, "final": False}
    return begun | fields


def silence(peer: Peer, _: socket.socket) -> None:
    """Say nothing."""
    peer.over.wait()


def drip(peer: Peer, connection: socket.socket) -> None:
    """Say a byte at a time, and never come to an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while not peer.over.wait(0.02):
        connection.sendall(b"x")


def reset(_: Peer, connection: socket.socket) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class Peer:
    """A listener on 127.0.0.1 that answers each connection by the next script.

    Args:
        *scripts: What to send, or what to do with the connection; the last one is repeated.
        tls: Whether to speak TLS.
        listens: Whether to let the client speak first.
    """

    def __init__(self, *scripts: bytes | Script, tls: bool = False, listens: bool = True) -> None:
        self.over = threading.Event()
        self.requests: list[bytes] = []
        self._scripts = scripts
        self._tls = tls
        self._listens = listens
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http{'s' * self._tls}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Answer no more."""
        self.over.set()
        with socket.create_connection(self._listener.getsockname()[:2]):
            self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                if self.over.is_set():
                    return
                if self._tls:
                    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                    context.load_cert_chain(CERTIFICATE)
                    with context.wrap_socket(connection, server_side=True) as secured:
                        self._answer(secured)
                else:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while self._listens and not complete(received) and (more := connection.recv(65_536)):
            received += more
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(received)
        if isinstance(script, bytes):
            connection.sendall(script)
        else:
            script(self, connection)


def complete(request: bytes) -> bool:
    """Return whether this is a whole request."""
    head, end, body = request.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    return bool(end) and len(body) >= int(length.partition(b"\r\n")[0] or 0)
