"""A server of a few bytes that nobody can hold up: one thread, and whoever is slow is let go."""

from __future__ import annotations

import selectors
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._web.message import Response

__all__ = ["Question", "listen", "serve"]

MANY = 64
"""Connections at the same time; one more, and the oldest is let go."""

PATIENCE = 2.0
"""Seconds that a request may take to come."""

LONGEST = 8 * 1024
"""Bytes of a request's head."""

ROOM = 256 * 1024
"""Bytes that no answer has."""

BREATH = 0.01
"""Seconds after which it is tried again where there is no descriptor for a client."""


class Question(NamedTuple):
    """A request, as much of it as matters.

    Attributes:
        method: Its method.
        path: Its path, undecoded.
        query: What follows the question mark.
        accept: The media types that are liked, or None.
    """

    method: str
    path: str
    query: bytes
    accept: str | None


class Connection:
    """A client that has not said everything yet."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        self.socket = client
        self.until = time.monotonic() + PATIENCE
        self.head = b""


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; nobody is asked for names.

    Raises:
        OSError: If the address cannot be had.
    """
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
    [(family, _, _, _, address), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=flags
    )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Handed on to its connections: an answer goes out in one piece, and nobody waits for it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        listener.bind(address)
        listener.listen(MANY)
    except OSError:
        listener.close()
        raise
    return listener


def serve(listener: socket.socket, answer: Callable[[Question], Response]) -> NoReturn:
    """Answer each request by ``answer`` until an exception comes.

    Args:
        listener: Where they come.
        answer: Must not take long: the others wait.
    """
    listener.setblocking(False)
    waiting: dict[socket.socket, Connection] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)

        def let_go(client: socket.socket) -> None:
            selector.unregister(client)
            del waiting[client]
            client.close()

        while True:
            oldest = next(iter(waiting.values()), None)
            left = None if oldest is None else max(oldest.until - time.monotonic(), 0)
            for key, _ in selector.select(left):
                connection = waiting.get(key.fileobj)  # type: ignore[call-overload]  # a socket
                if connection is not None:
                    if hears(connection, answer):
                        let_go(connection.socket)
                elif key.fileobj is listener and (client := accept(listener)) is not None:
                    if len(waiting) >= MANY:
                        let_go(next(iter(waiting)))
                    waiting[client] = Connection(client)
                    selector.register(client, selectors.EVENT_READ)
            now = time.monotonic()
            for client in [each for each, kept in waiting.items() if kept.until <= now]:
                let_go(client)


def accept(listener: socket.socket) -> socket.socket | None:
    """Return the next client; None if it has gone, or there is no descriptor for it."""
    try:
        return listener.accept()[0]
    except OSError:
        time.sleep(BREATH)
        return None


def hears(connection: Connection, answer: Callable[[Question], Response]) -> bool:
    """Read what has come, answer if that is all, and return whether the client may go."""
    try:
        data = connection.socket.recv(LONGEST)
        connection.head += data
        head, end, _ = connection.head.partition(b"\r\n\r\n")
        if not data or len(head) > LONGEST:
            return True
        if end:
            connection.socket.send(answered(head, answer))
            connection.socket.shutdown(socket.SHUT_WR)
    except OSError:
        return True  # the client has gone
    return bool(end)


def answered(head: bytes, answer: Callable[[Question], Response]) -> bytes:
    """Return the response to the request whose head this is, as it is sent."""
    first, *lines = head.split(b"\r\n")
    method, _, rest = first.decode("latin-1").partition(" ")
    path, _, query = rest.rpartition(" ")[0].partition("?")
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    question = Question(method, path, query.encode("latin-1"), headers.get("accept"))
    status, fields, body = answer(question)
    reason = HTTPStatus(status).phrase.encode()
    response = [b"HTTP/1.1 %d %s" % (status, reason), b"connection: close"]
    response += [name + b": " + value for name, value in fields]
    return b"\r\n".join([*response, b"", b"" if method == "HEAD" else body])
