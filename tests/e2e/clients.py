"""HTTP clients of the standard library: one request at a time, or many connections at once."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PATIENCE", "Answer", "Connection", "get", "request", "volley"]

PATIENCE = 10.0
"""Seconds that any answer may take."""


class Answer(NamedTuple):
    """A response, and how long it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float = 0.0

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)

    @property
    def message(self) -> str | None:
        """What beside the checks decided."""
        message: str | None = self.json().get("message")
        return message


def request(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    patience: float = PATIENCE,
) -> Answer:
    """Ask 127.0.0.1 over a connection of its own.

    Raises:
        TimeoutError: If nothing comes for ``patience`` seconds.
        OSError: If there is nobody.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    began = time.monotonic()
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, content, time.monotonic() - began)
    finally:
        connection.close()


def get(port: int, path: str, *, patience: float = PATIENCE) -> Answer:
    """GET ``path`` over a connection of its own; see `request`."""
    return request(port, "GET", path, patience=patience)


def volley(port: int, path: str, *, count: int, at_a_time: int) -> list[Answer]:
    """GET ``path`` so many times, so many of them at a time."""
    with ThreadPoolExecutor(at_a_time) as threads:
        return list(threads.map(lambda _: get(port, path), range(count)))


class Connection:
    """A keep-alive connection on asyncio: a raw socket, so that the client costs little.

    It understands responses with a ``Content-Length``, which is all that probes send.

    Attributes:
        closing: Whether the last response said that the connection ends with it.
        headers: Those of the last response, in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closing = False
        self.headers = b""

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, path: str) -> None:
        """Send a GET without waiting for anything."""
        self._writer.write(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())

    async def receive(self) -> tuple[int, bytes]:
        """Return the status and the body of the next response."""
        head = self.headers = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        self.closing = b"\r\nconnection: close\r\n" in head
        start = head.index(b"content-length:") + len(b"content-length:")
        length = int(head[start : head.index(b"\r\n", start)])
        return int(head[9:12]), await self._reader.readexactly(length)

    async def get(self, path: str) -> tuple[int, bytes]:
        """GET ``path`` and return the status and the body."""
        self.send(path)
        return await self.receive()

    def abort(self) -> None:
        """Vanish without a word, as a prober does whose patience is over."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        await self._writer.wait_closed()
