"""A small HTTP/1 server on asyncio's streams, for the endpoints and nothing else.

The standard library's own gives each connection a thread and each read, not each request, a limit,
so that clients which send a byte now and then could take up all there are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote

from probekit._web.message import Request
from probekit._web.problem import not_found, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._web.endpoint import Endpoint
    from probekit._web.message import Response

__all__ = ["Connections", "Finder", "bind"]

logger = logging.getLogger("probekit")

BACKLOG = 128
MOST_CONNECTIONS = 64
"""At once. One more closes the connection that has waited longest for a request."""
PATIENCE = 5.0
"""Seconds for which a client may take its time with a request, its body, or reading the answer."""
LONGEST_LINE = 8 * 1024
MOST_HEADERS = 100
PARTING = 1.0
"""Seconds for which what a client still sends is read, since to close before would cut it off."""


class Refused(Exception):
    """A request that cannot be understood; the connection ends with the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.response: Response = problem(status, detail)


class Head(NamedTuple):
    """The first lines of a request.

    Attributes:
        method: In capitals.
        path: Decoded.
        query: Undecoded.
        headers: Lower-case names and values.
        length: How many bytes of body follow.
        lasting: Whether the client expects the connection to last.
    """

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    length: int
    lasting: bool


class Finder(Protocol):
    """What knows the endpoints."""

    def find(self, path: str, root_path: str) -> tuple[Endpoint, str] | None:
        """Return the endpoint for ``path`` and the part below its own path, or None."""


def bind(host: str, port: int, *, numeric: bool = False, shared: bool = False) -> socket.socket:
    """Listen at an address; ``"::"`` is all of IPv4 as well, where the system can.

    Args:
        host: Where.
        port: Likewise; 0: wherever there is room.
        numeric: Whether ``host`` must be an address, so that nobody is asked for names.
        shared: Whether other processes may listen there, too.

    Raises:
        OSError: If it cannot be had; `socket.gaierror` if ``host`` is no address.
    """
    flags = socket.AI_PASSIVE | (socket.AI_NUMERICHOST if numeric else 0)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:  # from the codec of names, in words that differ with each Python
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
    family, _, _, _, address = found[0]
    return socket.create_server(
        address,
        family=family,
        backlog=BACKLOG,
        reuse_port=shared,
        dualstack_ipv6=family == socket.AF_INET6 and socket.has_dualstack_ipv6(),
    )


class Connections:
    """Answers on all connections of one port, from `listen` to `end`.

    Args:
        endpoints: What answers.
        draining: Whether clients must be told to go elsewhere.

    Attributes:
        endpoints: What answers from the next request on.
    """

    def __init__(self, endpoints: Finder, draining: Callable[[], bool]) -> None:
        self.endpoints: Finder = endpoints
        self._draining = draining
        self._open: set[asyncio.StreamWriter] = set()
        # In the order of their waiting; a dictionary keeps it.
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._ending = False
        self._failed = False

    async def listen(self, sock: socket.socket) -> None:
        """Take the connections that come to a socket."""
        self._server = await asyncio.start_server(
            self._serve, sock=sock, limit=LONGEST_LINE, backlog=BACKLOG
        )

    async def end(self) -> None:
        """Take no more, and close all there are, those first that wait for a request."""
        self._server.close()
        self._ending = True
        for writer in [*self._waiting]:
            writer.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                await self._none_open.wait()
        for writer in [*self._open]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer all requests of a connection."""
        if self._ending:
            writer.transport.abort()  # it was taken in that moment
            return
        if len(self._open) >= MOST_CONNECTIONS and not self._make_room():
            writer.transport.abort()
            return
        self._open.add(writer)
        self._none_open.clear()
        try:
            while await self._answer(reader, writer):
                pass
            await self._part(reader, writer)
        except (OSError, EOFError):
            pass  # the client is gone, or too slow
        except Exception:
            if not self._failed:
                self._failed = True
                logger.exception("probekit failed to serve a connection; it goes on")
        finally:
            self._open.discard(writer)
            self._waiting.pop(writer, None)
            if not self._open:
                self._none_open.set()
            with suppress(RuntimeError):  # a loop that has broken was closed under it
                writer.close()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest; return whether any waits."""
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        # At once: its task runs after those of the others that are let in with the newest one.
        del self._waiting[longest]
        longest.transport.abort()
        return True

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer the next request; return whether another may follow."""
        self._waiting[writer] = None
        method = "GET"
        try:
            head = await read_head(reader)
        except Refused as refused:
            response, lasting = refused.response, False
        else:
            if head is None:
                return False
            self._waiting.pop(writer, None)  # unless it was closed since
            method, body = head.method, Body(reader, head.length)
            response = await self._response(head, body, writer)
            lasting = head.lasting and body.left == 0
        self._waiting.pop(writer, None)
        lasting = lasting and not self._ending and not self._draining()
        writer.write(encoded(response, bodyless=method == "HEAD", close=not lasting))
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
        return lasting

    async def _response(self, head: Head, body: Body, writer: asyncio.StreamWriter) -> Response:
        found = self.endpoints.find(head.path, "")
        if found is None:
            return not_found("no probe has this path")
        endpoint, tail = found
        peer = writer.get_extra_info("peername")
        client = peer[0] if peer else None
        request = Request(head.method, tail, head.query, head.headers, client, body.read)
        return await endpoint.answer(request)

    async def _part(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting[writer] = None
        writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                while await reader.read(LONGEST_LINE):
                    pass


class Body:
    """The body of a request, read when an endpoint asks for it.

    Attributes:
        left: How many bytes have not been read.
    """

    def __init__(self, reader: asyncio.StreamReader, length: int) -> None:
        self._reader = reader
        self.left: int = length

    async def read(self, limit: int) -> bytes | None:
        """Return the body; None if it is longer than ``limit`` bytes, or broke off."""
        if self.left > limit:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                content = await self._reader.readexactly(self.left)
        except (OSError, EOFError):
            return None
        self.left = 0
        return content


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the first lines of the next request, or None if there is no other.

    Raises:
        Refused: If they make no sense, or too much of it.
        TimeoutError: If they do not come.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            line = await reader.readline()
        if not line.endswith(b"\n"):
            return None
        async with asyncio.timeout(PATIENCE):
            headers = await read_headers(reader)
    except ValueError:  # it is how the reader says it
        raise Refused(431, f"a line is longer than {LONGEST_LINE} bytes") from None
    return parsed(line, headers)


async def read_headers(reader: asyncio.StreamReader) -> list[tuple[bytes, bytes]]:
    """Return the headers, up to the empty line."""
    headers: list[tuple[bytes, bytes]] = []
    while (line := await reader.readline()).strip():
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise Refused(400, f"{line[:50]!r} is no header")
        headers.append((name.lower(), value.strip()))
        if len(headers) > MOST_HEADERS:
            raise Refused(431, f"there are more than {MOST_HEADERS} headers")
    if not line:
        raise EOFError
    return headers


def parsed(line: bytes, headers: list[tuple[bytes, bytes]]) -> Head:
    """Return what the first line and the headers say.

    Raises:
        Refused: If they say what is not understood here.
    """
    method, target, version = (*line.split(), b"", b"", b"")[:3]
    if len(line.split()) != 3 or not version.startswith(b"HTTP/"):
        raise Refused(400, f"{line[:50]!r} is no HTTP request; TLS is not spoken here")
    if not version.startswith(b"HTTP/1."):
        raise Refused(505, "HTTP/1.1 is spoken here, and HTTP/1.0")
    named = dict(headers)
    if b"transfer-encoding" in named:
        raise Refused(411, "send the body with a Content-Length")
    length = named.get(b"content-length", b"0")
    alike = all(value == length for name, value in headers if name == b"content-length")
    if not (alike and length.isdigit() and len(length) < 20):
        raise Refused(400, f"Content-Length: {length[:50]!r} is no length")
    if target.startswith(b"http://"):  # as it is said to a proxy
        target = b"/" + target.removeprefix(b"http://").partition(b"/")[2]
    path, _, query = target.partition(b"?")
    lasting = version != b"HTTP/1.0" and b"close" not in named.get(b"connection", b"").lower()
    return Head(
        method.decode("latin-1"),
        unquote(path.decode("latin-1"), errors="replace"),
        query,
        headers,
        int(length),
        lasting,
    )


def encoded(response: Response, *, bodyless: bool, close: bool) -> bytes:
    """Return a response as it is sent."""
    status = HTTPStatus(response.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in response.headers]
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", b"" if bodyless else response.body])
