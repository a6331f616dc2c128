"""Requests to an ASGI application without a server, and a clock that a test holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probekit import Probe, Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from probekit._web.asgi_types import ASGIApp, Message, Scope

__all__ = [
    "LOOPBACK",
    "MOMENT",
    "NOON",
    "PATHS",
    "Answer",
    "HeldClock",
    "ask",
    "call",
    "make_probes",
    "scope_of",
]

LOOPBACK = ("127.0.0.1", 50000)
NOON = 1_790_000_000.0
"""What `HeldClock` shows at first, as seconds since the epoch."""
MOMENT = "2026-09-21T14:13:20Z"
"""The same, as answers write it."""
PATHS = {"/healthz": Probe.LIVENESS, "/readyz": Probe.READINESS, "/startupz": Probe.STARTUP}
"""The paths of the probes."""


class HeldClock:
    """A clock that moves when it is told to; the readings may be counted or disturbed.

    Attributes:
        now: The monotonic seconds; the wall clock runs with them.
        disturbance: Called at each reading, for a test that raises or interrupts there.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.disturbance: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        """Return the monotonic seconds."""
        self.disturbance()
        return self.now

    def time(self) -> float:
        """Return the seconds since the epoch."""
        self.disturbance()
        return NOON + self.now - 100.0


@dataclass
class Answer:
    """A whole response, with its messages as they were sent."""

    messages: list[Message] = field(default_factory=list[Any])

    @property
    def status(self) -> int:
        """The HTTP status code."""
        status: int = self.messages[0]["status"]
        return status

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as they were sent."""
        return list(self.messages[0].get("headers", ()))

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name."""
        return {name.decode(): value.decode() for name, value in self.raw_headers}

    @property
    def body(self) -> bytes:
        """The body."""
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


def scope_of(
    path: str,
    method: str = "GET",
    *,
    query: bytes = b"",
    headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] = (),
    client: tuple[str, int] | None = LOOPBACK,
    http_version: str = "1.1",
    **more: object,
) -> Scope:
    """Return the scope of a request."""
    pairs = (
        [(name.encode(), value.encode()) for name, value in headers.items()]
        if hasattr(headers, "items")
        else list(headers)
    )
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": http_version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": query,
        "headers": pairs,
        "client": client,
        "server": ("127.0.0.1", 8000),
        **more,
    }


async def call(app: ASGIApp, scope: Scope, incoming: Iterable[Message]) -> Answer:
    """Let ``app`` handle ``scope``; after ``incoming`` the client has gone."""
    answer = Answer()
    waiting = iter(incoming)

    async def receive() -> Message:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


async def ask(
    app: ASGIApp, path: str, method: str = "GET", *, body: bytes = b"", **scope: Any
) -> Answer:
    """Ask ``app`` for ``path``; further arguments as for `scope_of`."""
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    return await call(app, scope_of(path, method, **scope), incoming)


def make_probes(clock: HeldClock | None = None, **options: Any) -> Probes:
    """Return silent `Probes` without a drain delay."""
    return Probes(clock=clock, **{"observers": [], "drain_delay": 0, **options})
