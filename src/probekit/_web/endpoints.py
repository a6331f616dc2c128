"""All endpoints behind one door: from a path to what answers it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict

from anyio import CapacityLimiter, to_thread

from probekit._core.model import Probe
from probekit._web.access import Gate, networks, within
from probekit._web.admin import DrainEndpoint
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed, not_found
from probekit._web.question import JSON, Question, accepted, parse_query
from probekit._web.render import Details, content_type, render
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probekit._core.model import Drain
    from probekit._lifecycle.service import Service
    from probekit._web.access import Network
    from probekit._web.message import Request, Response

__all__ = ["Endpoint", "EndpointOptions", "Endpoints", "MetricsExporter"]

logger = logging.getLogger("probekit")


class MetricsExporter(Protocol):
    """What can be served at ``/metrics``, such as `probekit.observe.prometheus` makes."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the body that fit the header ``Accept``; from any thread."""
        ...


class EndpointOptions(TypedDict, total=False):
    """The options of every door.

    Attributes:
        liveness_path: ``/healthz``.
        readiness_path: ``/readyz``.
        startup_path: ``/startupz``.
        drain_path: ``/admin/drain``; None: no such endpoint.
        metrics_path: ``/metrics``, served if ``metrics`` is given.
        metrics: What to serve there, such as ``probekit.observe.prometheus.instrument(probes)``.
        details: What an answer shows: ``"full"``; ``"status"``: names and statuses;
            ``"none"``: the status of the whole.
        allow: Networks in CIDR notation that may ask at all; others get 404. None: everybody.
        admin_token: A bearer token that may turn the drain, beside whoever sits on the machine.
        admin_allow: Networks in CIDR notation whose addresses may turn the drain.
    """

    liveness_path: str
    readiness_path: str
    startup_path: str
    drain_path: str | None
    metrics_path: str
    metrics: MetricsExporter | None
    details: Details
    allow: Iterable[str] | None
    admin_token: str | None
    admin_allow: Iterable[str]


class Endpoint(Protocol):
    """Answers the requests to one path."""

    async def answer(self, request: Request) -> Response:
        """Answer a request; never raises."""
        ...


class Endpoints:
    """The endpoints of one door, by path.

    Attributes:
        paths: The path of each, without a slash at the end.
    """

    def __init__(
        self,
        service: Service,
        *,
        liveness_path: str = "/healthz",
        readiness_path: str = "/readyz",
        startup_path: str = "/startupz",
        drain_path: str | None = "/admin/drain",
        metrics_path: str = "/metrics",
        metrics: MetricsExporter | None = None,
        details: Details = "full",
        allow: Iterable[str] | None = None,
        admin_token: str | None = None,
        admin_allow: Iterable[str] = (),
    ) -> None:
        if details not in {"full", "status", "none"}:
            raise ConfigurationError(f"details must be 'full', 'status' or 'none', got {details!r}")
        allowed = None if allow is None else networks("allow", allow)
        self._by_path: dict[str, Endpoint] = {}
        for probe, option, path in (
            (Probe.LIVENESS, "liveness_path", liveness_path),
            (Probe.READINESS, "readiness_path", readiness_path),
            (Probe.STARTUP, "startup_path", startup_path),
        ):
            self._add(option, path, ProbeEndpoint(service, probe, details, allowed))
        if drain_path is not None:
            gate = Gate(token=admin_token, allow=admin_allow)
            self._add("drain_path", drain_path, DrainEndpoint(service, gate))
        if metrics is not None:
            self._add("metrics_path", metrics_path, MetricsEndpoint(metrics, allowed))
        self.paths = tuple(self._by_path)

    def _add(self, option: str, path: object, endpoint: Endpoint) -> None:
        if not (isinstance(path, str) and path.startswith("/") and path.strip("/")):
            raise ConfigurationError(f"{option} must be a path such as '/readyz', got {path!r}")
        path = path.rstrip("/")
        if path in self._by_path:
            raise ConfigurationError(f"{option}: {path!r} is the path of another endpoint already")
        self._by_path[path] = endpoint

    def find(self, path: str, root_path: str) -> tuple[Endpoint, str] | None:
        """Return the endpoint for ``path`` and what follows its own path, or None.

        A server or a mount may have put ``root_path`` before the path, or not: both are found.
        """
        found = self._match(path)
        if found is None and root_path and path.startswith(root_path):
            found = self._match(path[len(root_path) :])
        return found

    def _match(self, path: str) -> tuple[Endpoint, str] | None:
        if not path.startswith(self.paths):
            return None
        endpoint = self._by_path.get(path.rstrip("/"))
        if endpoint is not None:
            return endpoint, ""
        for prefix, endpoint in self._by_path.items():
            if path.startswith(prefix + "/"):
                return endpoint, path[len(prefix) :].strip("/")
        return None


class Rendered(NamedTuple):
    """An answer that can be given again."""

    response: Response
    version: int
    draining: Drain | None
    valid_until: float


class ProbeEndpoint:
    """Answers one probe: exactly 200 or 503, whatever happens."""

    def __init__(
        self,
        service: Service,
        probe: Probe,
        details: Details,
        allowed: tuple[Network, ...] | None,
    ) -> None:
        self._service = service
        self._probe = probe
        self._details: Details = details
        self._allowed = allowed
        self._last: Rendered | None = None

    async def answer(self, request: Request) -> Response:
        """Answer a request of any prober; OPTIONS is what HAProxy sends if nobody tells it else."""
        if self._allowed is not None and not within(request.client, self._allowed):
            return not_found("nothing here for this address")
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            return method_not_allowed(request.method, "GET", "HEAD", "OPTIONS")
        try:
            response = await self._answer(request)
        except Exception:
            logger.exception("probekit failed to answer a %s probe", self._probe.value)
            response = self._own_fault()
        self._service.answered(self._probe, response.status)
        return response

    async def _answer(self, request: Request) -> Response:
        accept = request.header(b"accept")
        plain = not request.query and not request.tail and accept in {None, "*/*", JSON}
        if plain and (last := self._last) is not None and self._still_true(last):
            return last.response
        media = accepted(accept)
        question = parse_query(request.query) if request.query else Question()
        if question.verbose:
            media = "text/plain"
        service, only = self._service, request.tail or None
        if only is not None and only not in service.engine.states[self._probe]:
            return self._no_such_check(only)
        report = await service.report(self._probe, only=only, exclude=question.exclude)
        body = render(report, media, self._details)
        response = respond(200 if report.passing else 503, content_type(media), body)
        if plain:
            version = service.engine.version
            self._last = Rendered(response, version, report.draining, report.valid_until)
        return response

    def _still_true(self, last: Rendered) -> bool:
        service = self._service
        return (
            last.version == service.engine.version
            and service.clock.monotonic() < last.valid_until
            and (self._probe is not Probe.READINESS or last.draining is service.drain.state)
        )

    def _no_such_check(self, name: str) -> Response:
        probe = self._probe.value
        names = ", ".join(self._service.engine.states[self._probe]) or "none"
        known = f"; there are: {names}" if self._details != "none" else ""
        return not_found(f"{probe} has no check {name[:50]!r}{known}")

    def _own_fault(self) -> Response:
        alive = self._probe is Probe.LIVENESS
        status = "healthy" if alive else "unhealthy"
        body = {"status": status, "probe": self._probe.value, "message": "probekit failed, see log"}
        return respond(200 if alive else 503, b"application/json", json.dumps(body).encode())


class MetricsEndpoint:
    """Serves what an exporter renders."""

    def __init__(self, exporter: MetricsExporter, allowed: tuple[Network, ...] | None) -> None:
        self._exporter = exporter
        self._allowed = allowed

    async def answer(self, request: Request) -> Response:
        """Answer a scrape; it runs no check."""
        if self._allowed is not None and not within(request.client, self._allowed):
            return not_found("nothing here for this address")
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed(request.method, "GET", "HEAD")
        # An exporter reads /proc, and in multiprocess mode a file of each worker. A limiter of its
        # own, since the shared one may be taken up by whatever is to be found out by the scrape.
        accept = request.header(b"accept") or "*/*"
        media, body = await to_thread.run_sync(
            self._exporter.render, accept, limiter=CapacityLimiter(1)
        )
        return respond(200, media.encode(), body)
