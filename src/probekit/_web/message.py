"""A request and a response, as little of them as a probe needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

__all__ = ["Body", "Headers", "Request", "Response", "respond"]

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Body: TypeAlias = Callable[[int], Awaitable[bytes | None]]


@dataclass(slots=True)
class Request:
    """A request to one of the endpoints.

    Attributes:
        method: In capitals.
        tail: What follows the endpoint's path, without slashes around it: the check of
            ``/readyz/<check>``.
        query: The query string, undecoded.
        headers: Lower-case names and values, undecoded.
        client: The address of whoever holds the other end of the connection, or None for a Unix
            socket.
        body: Reads the body; None if it is longer than the given number of bytes, or broke off.
    """

    method: str
    tail: str
    query: bytes
    headers: Headers
    client: str | None
    body: Body

    def header(self, name: bytes) -> str | None:
        """Return the value of the header ``name``; several are joined by commas."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        return ",".join(values) if values else None


class Response(NamedTuple):
    """A whole response: never streamed, since a prober that waits for the end learns nothing.

    Attributes:
        status: The HTTP status code.
        headers: Lower-case names; ``content-length`` is among them.
        body: What follows, also for HEAD: the doors leave it out.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


EVERY_ANSWER = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def respond(status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> Response:
    """Return a response with the headers that every answer of probekit carries."""
    length = str(len(body)).encode()
    headers = [(b"content-type", content_type), (b"content-length", length), *EVERY_ANSWER, *more]
    return Response(status, headers, body)
