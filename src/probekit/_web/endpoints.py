"""All endpoints of a door: its options, and from a path to what answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, get_args

from probekit._core.model import Probe
from probekit._web.access import Gate, networks
from probekit._web.admin import DrainEndpoint
from probekit._web.metrics import MetricsEndpoint
from probekit._web.probe import ProbeEndpoint
from probekit._web.render import Details
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probekit._lifecycle.aside import Aside
    from probekit._lifecycle.service import Service
    from probekit._web.endpoint import Endpoint
    from probekit._web.metrics import MetricsExporter

__all__ = ["EndpointOptions", "Endpoints"]


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
        admin_token: A bearer token that may turn the drain, and see the stack of what stands still,
            beside whoever sits on the machine.
        admin_allow: Networks in CIDR notation whose addresses may do the same.
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


class Endpoints:
    """The endpoints of one door, by path.

    Args:
        service: What to answer for.
        aside: Whom the probes ask; None: the service itself.
        **options: See `EndpointOptions`.

    Attributes:
        paths: The path of each, without a slash at the end, the longest first.
    """

    def __init__(
        self,
        service: Service,
        *,
        aside: Aside | None = None,
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
        if details not in get_args(Details):
            raise ConfigurationError(
                f"probe endpoints: details must be 'full', 'status' or 'none', got {details!r}"
            )
        allowed = None if allow is None else networks("allow", allow)
        gate = Gate(token=admin_token, allow=admin_allow)
        self._by_path: dict[str, Endpoint] = {}
        for probe, option, path in (
            (Probe.LIVENESS, "liveness_path", liveness_path),
            (Probe.READINESS, "readiness_path", readiness_path),
            (Probe.STARTUP, "startup_path", startup_path),
        ):
            endpoint = ProbeEndpoint(
                service, probe, details=details, allowed=allowed, gate=gate, aside=aside
            )
            self._add(option, path, endpoint)
        if drain_path is not None:
            self._add("drain_path", drain_path, DrainEndpoint(service, gate))
        if metrics is not None:
            self._add("metrics_path", metrics_path, MetricsEndpoint(metrics, allowed=allowed))
        self.paths: tuple[str, ...] = tuple(sorted(self._by_path, key=len, reverse=True))

    def _add(self, option: str, path: object, endpoint: Endpoint) -> None:
        if not (isinstance(path, str) and path.startswith("/") and path.strip("/")):
            raise ConfigurationError(
                f"probe endpoints: {option} must be a path such as '/readyz', got {path!r}"
            )
        if odd := [each for each in "?#%" if each in path]:
            raise ConfigurationError(
                f"probe endpoints: {option} must be a path as it is once it is decoded, without a "
                f"query: got {path!r}, with {odd[0]!r} in it; leave that out"
            )
        path = path.rstrip("/")
        if path in self._by_path:
            raise ConfigurationError(
                f"probe endpoints: {option}={path!r} is the path of another endpoint already; give "
                f"each one of its own"
            )
        self._by_path[path] = endpoint

    def find(self, path: str, root_path: str) -> tuple[Endpoint, str] | None:
        """Return the endpoint for ``path`` and the part below its own path, or None.

        A server or a mount may have put ``root_path`` before the path, or not: both are found.
        """
        found = self._match(path)
        if found is None and root_path and path.startswith(root_path):
            found = self._match(path[len(root_path) :])
        return found

    def _match(self, path: str) -> tuple[Endpoint, str] | None:
        if not path.startswith(self.paths):
            return None  # every ordinary request ends here
        endpoint = self._by_path.get(path.rstrip("/"))
        if endpoint is not None:
            return endpoint, ""
        for own in self.paths:
            if path.startswith(own + "/") and self._by_path[own].divided:
                return self._by_path[own], path[len(own) :].strip("/")
        return None
