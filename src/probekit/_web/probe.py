"""``/healthz``, ``/readyz`` and ``/startupz``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from probekit._core.model import Probe
from probekit._web.endpoint import Endpoint
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed, not_found
from probekit._web.question import JSON, TEXT, Question, accepted, parse_query
from probekit._web.render import content_type, render
from probekit._web.workers import workers_text

if TYPE_CHECKING:
    from probekit._core.model import Drain, Report, Status
    from probekit._lifecycle.aside import Aside
    from probekit._lifecycle.service import Service
    from probekit._web.access import Gate, Network
    from probekit._web.message import Request, Response
    from probekit._web.render import Details

__all__ = ["ProbeEndpoint"]

METHODS = {"GET", "HEAD", "OPTIONS"}
WITHHELD = "the stack stands in the log; it is told here to whoever may turn the drain\n"
ELSEWHERE = "the stack stands in the log, and in what that worker answers itself: ask again\n"


class Rendered(NamedTuple):
    """An answer that can be given again, and what it rests on."""

    response: Response
    status: Status
    version: int
    draining: Drain | None
    valid_until: float


class ProbeEndpoint(Endpoint):
    """Answers one probe: exactly 200 or 503, and 404 for a check that there is not."""

    divided = True

    def __init__(
        self,
        service: Service,
        probe: Probe,
        *,
        details: Details,
        allowed: tuple[Network, ...] | None,
        gate: Gate,
        aside: Aside | None = None,
    ) -> None:
        super().__init__(allowed)
        self._gate = gate
        self._service = service
        self._asked = aside or service
        self._probe = probe
        self._details: Details = details
        self._last: Rendered | None = None

    def at_once(self, request: Request) -> Response | None:
        """Answer a plain liveness request if nothing must be run for it, and it is no news.

        A process is no less alive because the loop of its checks is busy or gone.
        """
        if (
            self._probe is not Probe.LIVENESS
            or request.method not in METHODS
            or not is_plain(request)
            or not self.admits(request)
        ):
            return None
        last = self._last
        if last is None:
            return None
        response = last.response if self._still_true(last) else self._known(last.status)
        if response is not None:
            self._service.answered(self._probe, response.status)
        return response

    def _known(self, before: Status) -> Response | None:
        service = self._service
        now = service.clock.monotonic()
        if not all(state.fresh(now) for state in dict(service.engine.states[self._probe]).values()):
            return None
        version = service.engine.version
        report = service.peek(self._probe)
        if report.status is not before:
            return None  # observers hear of it on the loop
        return self._render(report, JSON, version=version)

    async def respond(self, request: Request) -> Response:
        """Answer any prober; OPTIONS is what HAProxy sends if nobody tells it otherwise."""
        if request.method not in METHODS:
            return method_not_allowed(request.method, "GET", "HEAD", "OPTIONS")
        service = self._service
        service.serving()
        if self._probe is Probe.READINESS:
            service.sigterm.check(service.clock.monotonic())
            service.drain.look()
        response = await self._report(request)
        service.answered(self._probe, response.status)
        if response.status == 503 and self._probe is Probe.READINESS and not request.tail:
            service.not_ready(request.client)
        return response

    def fault(self) -> Response:
        """Fail readiness and startup; what probekit does wrong is no reason to restart anybody."""
        alive = self._probe is Probe.LIVENESS
        status = "healthy" if alive else "unhealthy"
        message = "probekit failed to answer; the log says why"
        body = {"status": status, "probe": self._probe.value, "message": message}
        code = 200 if alive else 503
        self._service.answered(self._probe, code)
        return respond(code, b"application/json", json.dumps(body).encode() + b"\n")

    async def _report(self, request: Request) -> Response:
        plain = is_plain(request)
        if plain and (last := self._last) is not None and self._still_true(last):
            return last.response
        service, only = self._service, request.tail or None
        if only is not None and (
            self._details == "none" or only not in service.engine.states[self._probe]
        ):
            return self._no_such_check(only)
        question = parse_query(request.query) if request.query else Question()
        media = TEXT if question.verbose else accepted(request.header(b"accept"))
        versions: list[int] = []  # of before the report: another thread may record meanwhile
        report = await self._asked.report(
            self._probe,
            only=only,
            exclude=question.exclude,
            asked=lambda: versions.append(service.engine.version),
        )
        more = ""
        if question.verbose and self._details == "full":
            more = self._more(report, request)
        return self._render(report, media, more=more, version=versions[0] if plain else None)

    def _more(self, report: Report, request: Request) -> str:
        """Return what a person who asks wants to know besides, in lines."""
        if self._probe is Probe.READINESS:
            return workers_text(self._service.workers(), report.at)
        if self._probe is not Probe.LIVENESS or report.passing or report.message is None:
            return ""
        if self._gate.refusal(request) is not None:
            return WITHHELD  # lines of the source, and paths, are for operators alone
        stall = self._service.stall
        if stall is None:
            return ELSEWHERE
        return f"{stall.stack}\n" if stall.stack else ""

    def _render(
        self, report: Report, media: str, *, more: str = "", version: int | None
    ) -> Response:
        """Write the answer out, and keep it if a version is given that it rests on."""
        body = render(report, media, self._details, more=more)
        response = respond(200 if report.passing else 503, content_type(media), body)
        if version is not None:
            self._last = Rendered(
                response, report.status, version, report.draining, report.valid_until
            )
        return response

    def _still_true(self, last: Rendered) -> bool:
        service = self._service
        return (
            last.version == service.engine.version
            and service.clock.monotonic() < last.valid_until
            and (self._probe is not Probe.READINESS or last.draining is service.drain.state)
        )

    def _no_such_check(self, name: str) -> Response:
        if self._details == "none":
            return not_found("the checks are not shown one by one")
        probe = self._probe.value
        names = ", ".join(self._service.engine.states[self._probe]) or "none"
        return not_found(f"{probe} has no check {name[:50]!r}; there are: {names}")


def is_plain(request: Request) -> bool:
    """Whether nothing special is asked for, so that all who ask so get the same answer."""
    if request.query or request.tail:
        return False
    return request.header(b"accept") in {None, "*/*", JSON}
