"""Ask ``/admin/drain``: one request on a connection of its own, limited in time and length.

Neither a redirect nor a proxy of the environment is followed: the token is for the service alone.
"""

from __future__ import annotations

import io
import json
import math
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from probekit.cli._failures import CannotAsk, NoAnswer
from probekit.cli._text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import WriteableBuffer

__all__ = ["ADMIN_PATH", "Answer", "Client", "Endpoint", "endpoint_of"]

ADMIN_PATH = "/admin/drain"
LONGEST_ANSWER = 64 * 1024
"""Bytes; an answer has some 300."""


class Endpoint(NamedTuple):
    """Where to ask.

    Attributes:
        url: The whole of it, for messages.
        secure: Whether to speak TLS.
        host: Name or address, IPv6 without brackets.
        port: TCP port.
        path: What the request line says.
    """

    url: str
    secure: bool
    host: str
    port: int
    path: str


def endpoint_of(url: str) -> Endpoint:
    """Return where a service at ``url`` has its `ADMIN_PATH`.

    Args:
        url: ``http://`` or ``https://``, with the prefix under which probekit is mounted, if any.

    Raises:
        ValueError: It is no such URL; the text says why.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("it must consist of printable ASCII characters, without spaces")
    if "@" in url:  # before its parts are looked at, whose errors show them
        raise ValueError("it must not hold credentials, which `ps` shows: see --token-file")
    parts = urlsplit(url)
    port = parts.port  # raises a ValueError that says it all
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must look like http://127.0.0.1:8000")
    if "?" in url or "#" in url:
        raise ValueError("it must end with the path: no ? and no #")
    secure = parts.scheme == "https"
    if port is None:
        port = 443 if secure else 80
    path = parts.path.rstrip("/").removesuffix(ADMIN_PATH) + ADMIN_PATH
    return Endpoint(f"{parts.scheme}://{parts.netloc}{path}", secure, parts.hostname, port, path)


class Answer(NamedTuple):
    """A response.

    Attributes:
        status: The code.
        reason: The phrase after it.
        location: Where it redirects to, or an empty string.
        body: All of it.
    """

    status: int
    reason: str
    location: str
    body: bytes

    @property
    def text(self) -> str:
        """The body as text in one piece, as far as it is any."""
        return self.body.decode("utf-8", "replace").strip()


class Client:
    """Asks one endpoint.

    Args:
        endpoint: Where.
        token: The bearer token to present, or None.
        connect_timeout: Seconds that a connection, to each address of the host, may take.
        timeout: Seconds that the answer may take once there is a connection, to its last byte.
    """

    def __init__(
        self, endpoint: Endpoint, *, token: str | None, connect_timeout: float, timeout: float
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self.has_token: bool = token is not None
        self._headers = {"Accept": "application/json", "Connection": "close"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connect_timeout = connect_timeout
        self._timeout = timeout

    def ask(
        self,
        method: str,
        options: Mapping[str, object] | None = None,
        *,
        within: float = math.inf,
    ) -> Answer:
        """Send one request and return its answer, whatever that says.

        Args:
            method: GET, POST or DELETE.
            options: The JSON object to send, or None.
            within: Seconds that all of it may take, if that is less than the client's own limits.

        Raises:
            CannotAsk: If nobody listens there, or the two do not understand each other.
            NoAnswer: If no answer, or half of one, came in time.
        """
        url, host, port = self.endpoint.url, self.endpoint.host, self.endpoint.port
        try:
            return self._exchange(method, options, within)
        except ConnectionRefusedError:
            raise CannotAsk(
                f"nobody listens at {url} (connection refused); "
                f"is the service listening on {host}:{port}? give --url or PROBEKIT_URL"
            ) from None
        except socket.gaierror as error:
            raise CannotAsk(
                f"the host {host!r} of {url} has no address ({error.strerror}); "
                "give another in --url or PROBEKIT_URL"
            ) from None
        except (HTTPException, ConnectionError) as error:
            raise NoAnswer(
                f"the answer of {url} broke off or is no HTTP ({shown(repr(error))}); "
                "is that the service, and is it http or https?"
            ) from None
        except OSError as error:
            hint = "; is its certificate trusted? SSL_CERT_FILE names others" * self.endpoint.secure
            raise CannotAsk(f"cannot talk to {url}: {error.strerror or error}{hint}") from None

    def _exchange(self, method: str, options: Mapping[str, object] | None, within: float) -> Answer:
        began = time.monotonic()
        patience = min(self._connect_timeout, within)
        kind = HTTPSConnection if self.endpoint.secure else HTTPConnection
        connection = kind(self.endpoint.host, self.endpoint.port, timeout=patience)
        try:
            try:
                connection.connect()
            except TimeoutError:
                raise NoAnswer(
                    f"no connection to {self.endpoint.url} within {patience:g} s "
                    "(--connect-timeout); is that the right address? give --url or PROBEKIT_URL"
                ) from None
            deadline = min(time.monotonic() + self._timeout, began + within)
            body = None if options is None else json.dumps(options).encode()
            headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
            try:
                connection.request(method, self.endpoint.path, body, headers)
                return receive(connection.sock, method, deadline)
            except TimeoutError:
                raise NoAnswer(
                    f"no answer of {self.endpoint.url} within {min(self._timeout, within):g} s "
                    "(--timeout); the event loop of the service may be blocked"
                ) from None
        finally:
            connection.close()


def receive(sock: socket.socket, method: str, deadline: float) -> Answer:
    """Return the response to what was sent.

    Args:
        sock: Where it was sent; remains open.
        method: What was asked for.
        deadline: Seconds of `time.monotonic` until which the last byte must have come.

    Raises:
        TimeoutError: It did not come in time.
        HTTPException: It is not HTTP, too long, or incomplete.
    """
    # What `HTTPConnection.getresponse` does, but for the limit: its timeout begins anew with each
    # byte.
    response = HTTPResponse(sock, method=method)
    response.fp.close()
    response.fp = io.BufferedReader(Bounded(sock, deadline))
    with response:
        response.begin()
        body = response.read(LONGEST_ANSWER)
        if response.length:
            raise IncompleteRead(body, response.length)
        location = response.getheader("Location") or ""
        return Answer(response.status, response.reason, location, body)


class Bounded(io.RawIOBase):
    """What a socket receives, until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Receive some bytes; see `io.RawIOBase.readinto`.

        Raises:
            TimeoutError: The deadline has passed.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)
