"""What the server beside a service answers: its verdict, in the forms of the other endpoints."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from probekit._alive.judge import judge
from probekit._core.model import Probe, Report, Status
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed, not_found
from probekit._web.question import JSON, TEXT, accepted, parse_query
from probekit._web.render import content_type, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probekit._alive.judge import Judgement
    from probekit._alive.server import Question
    from probekit._web.message import Response

__all__ = ["Page"]

METHODS = ("GET", "HEAD", "OPTIONS")
PATH = "/healthz"
REUSED_FOR = 0.2
"""Seconds for which a judgement is repeated, whoever asks."""


class Page:
    """``/healthz`` of a process that stands beside the service.

    Args:
        environment: Where the pods are looked for.
        app: The name of the application that is meant; None: whichever there are.
        tell: Told in a line of what changes.
    """

    def __init__(
        self, environment: Mapping[str, str], *, app: str | None, tell: Callable[[str], None]
    ) -> None:
        self._environment = environment
        self._app = app
        self._tell = tell
        self._told: set[tuple[str, int, str]] = set()
        self._alive: bool | None = None
        self._last: Judgement | None = None
        self._until = 0.0

    def answer(self, question: Question) -> Response:
        """Return the response to a request."""
        if question.path.rstrip("/") != PATH:
            return not_found(f"there is no {question.path[:50]!a} here; ask for {PATH}")
        if question.method not in METHODS:
            return method_not_allowed(question.method, *METHODS)
        judgement = self._judged()
        verbose = parse_query(question.query).verbose
        media = TEXT if verbose else accepted(question.accept)
        status = 200 if judgement.alive else 503
        return respond(status, content_type(media), body_of(judgement, media))

    def _judged(self) -> Judgement:
        if self._last is None or time.monotonic() >= self._until:
            self._last = judge(self._environment, app=self._app)
            self._until = time.monotonic() + REUSED_FOR
            self._tell_of(self._last)
        return self._last

    def _tell_of(self, judgement: Judgement) -> None:
        """Say what is new: who asks by HTTP sees a status, and few keep the body."""
        odd = {(each.app, each.pid, each.state): each for each in judgement.workers}
        for key, verdict in odd.items():
            if key not in self._told and verdict.state in {"starved", "not judged"}:
                self._tell(str(verdict))
        self._told = set(odd)
        if judgement.alive is not self._alive:
            self._alive = judgement.alive
            self._tell(f"{'alive' if judgement.alive else 'not alive'}: {judgement.message}")


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
