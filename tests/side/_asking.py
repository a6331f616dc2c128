"""A client that sees every byte, for ports that answer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.e2e.clients import PATIENCE, Answer

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Answer", "Client", "ask", "listens"]


class Client:
    """A connection to a port of this machine; a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._file.close()
        self.socket.close()

    def send(self, content: bytes) -> None:
        """Send these bytes."""
        self.socket.sendall(content)

    def receive(self, *, bodyless: bool = False) -> Answer:
        """Return the next response."""
        status = self._file.readline().split()[1]
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = b"" if bodyless else self._file.read(int(headers["content-length"]))
        return Answer(int(status), headers, body)

    def ends(self) -> bool:
        """Whether the other side closes the connection, without another word."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


def ask(port: int, path: str, *headers: str, host: str = "127.0.0.1") -> Answer:
    """GET ``path`` on a connection of its own."""
    lines = [f"GET {path} HTTP/1.0", *headers, "", ""]
    with Client(port, host) as client:
        client.send("\r\n".join(lines).encode())
        return client.receive()


def listens(port: int) -> bool:
    """Whether anybody answers there."""
    try:
        ask(port, "/healthz")
    except ConnectionError:
        return False
    return True
