"""What the server beside a service answers: its verdict, in the forms of the other endpoints."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING

from probekit._alive.judge import judge
from probekit._core.model import Probe, Report, Status
from probekit._web.endpoint import Endpoint
from probekit._web.http1 import Connections, bind
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed, not_found
from probekit._web.question import JSON, TEXT, accepted, parse_query
from probekit._web.render import content_type, render

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from probekit._alive.judge import Judgement
    from probekit._web.message import Request, Response

__all__ = ["Page", "listen", "serve"]

METHODS = ("GET", "HEAD", "OPTIONS")
PATH = "healthz"
REUSED_FOR = 0.1
"""Seconds for which a judgement is repeated, whoever asks. They come on top of `GRACE`: who was
well just before the time was up is said to be stuck so much later."""


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; nobody is asked for names.

    Raises:
        OSError: If the address cannot be had.
    """
    return bind(host, port, numeric=True)


async def serve(listener: socket.socket, page: Page) -> None:
    """Answer whoever comes, until SIGTERM or SIGINT does."""
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    connections = Connections(page, draining=lambda: False)
    await connections.listen(listener)
    host, port, *_ = listener.getsockname()
    page.tell(f"answers at http://{f'[{host}]' if ':' in host else host}:{port}/{PATH}")
    await leave.wait()
    await connections.end()
    # For whoever was being let in just then: a connection that is cancelled leaves a traceback.
    for _ in range(10):
        await asyncio.sleep(0)


class Page(Endpoint):
    """``/healthz`` of a process that stands beside the service.

    Args:
        environment: Where the pods are looked for.
        app: The name of the application that is meant; None: whichever there are.
        tell: Told in a line of what changes.

    Attributes:
        tell: Likewise.
    """

    def __init__(
        self, environment: Mapping[str, str], *, app: str | None, tell: Callable[[str], None]
    ) -> None:
        super().__init__(None)
        self._environment = environment
        self._app = app
        self.tell = tell
        self._told: set[tuple[str, int, str]] = set()
        self._alive: bool | None = None
        self._last: Judgement | None = None
        self._until = 0.0
        self._judging = asyncio.Lock()

    def find(self, path: str, root_path: str) -> tuple[Endpoint, str]:
        """Return itself, whatever is asked for: it tells what there is."""
        del root_path
        return self, path.strip("/")

    async def respond(self, request: Request) -> Response:
        """Answer a request."""
        if request.tail != PATH:
            return not_found(f"there is no {'/' + request.tail[:50]!a} here; ask for /{PATH}")
        if request.method not in METHODS:
            return method_not_allowed(request.method, *METHODS)
        judgement = await self._judged()
        verbose = parse_query(request.query).verbose
        media = TEXT if verbose else accepted(request.header(b"accept"))
        status = 200 if judgement.alive else 503
        return respond(status, content_type(media), body_of(judgement, media))

    async def _judged(self) -> Judgement:
        async with self._judging:  # whoever asks meanwhile gets the same one
            if self._last is None or time.monotonic() >= self._until:
                # It sleeps while it looks at who says nothing.
                self._last = await asyncio.to_thread(judge, self._environment, app=self._app)
                self._until = time.monotonic() + REUSED_FOR
                self._tell_of(self._last)
            return self._last

    def _tell_of(self, judgement: Judgement) -> None:
        """Say what is new: who asks by HTTP sees a status, and few keep the body."""
        odd = {(each.app, each.pid, each.state): each for each in judgement.workers}
        for key, verdict in odd.items():
            if key not in self._told and verdict.state in {"starved", "not judged"}:
                self.tell(str(verdict))
        self._told = set(odd)
        if judgement.alive is not self._alive:
            self._alive = judgement.alive
            self.tell(f"{'alive' if judgement.alive else 'not alive'}: {judgement.message}")


def body_of(judgement: Judgement, media: str) -> bytes:
    """Return a judgement in the form ``media``."""
    now = time.monotonic()
    report = Report(
        probe=Probe.LIVENESS,
        status=Status.HEALTHY if judgement.alive else Status.UNHEALTHY,
        checks={},
        message=None if judgement.alive and media == TEXT else judgement.message,
        at=now,
        valid_until=now,
    )
    lines = "".join(f"{verdict}\n" for verdict in judgement.workers)
    body = render(report, media, "full", more=lines)
    if media != JSON:
        return body
    workers = [verdict._asdict() for verdict in judgement.workers]
    return json.dumps(json.loads(body) | {"workers": workers}).encode() + b"\n"
