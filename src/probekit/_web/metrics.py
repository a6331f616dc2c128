"""``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from probekit._core.own_thread import on_own_thread
from probekit._web.endpoint import Endpoint
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from probekit._web.access import Network
    from probekit._web.message import Request, Response

__all__ = ["MetricsEndpoint", "MetricsExporter"]


class MetricsExporter(Protocol):
    """What can be served at ``/metrics``, such as `probekit.observe.prometheus` makes."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the body that fit the header ``Accept``; from any thread."""
        ...


class MetricsEndpoint(Endpoint):
    """Serves what an exporter renders; a scrape runs no check.

    Args:
        exporter: What renders.
        allowed: See `Endpoint`.

    Raises:
        ConfigurationError: If it cannot.
    """

    def __init__(self, exporter: MetricsExporter, *, allowed: tuple[Network, ...] | None) -> None:
        super().__init__(allowed)
        if isinstance(exporter, type) or not callable(getattr(exporter, "render", None)):
            raise ConfigurationError(
                f"metrics must have a method render(accept), such as what "
                f"probekit.observe.prometheus.instrument(probes) returns, got {exporter!r}"
            )
        self._exporter = exporter

    async def respond(self, request: Request) -> Response:
        """Answer a scrape."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed(request.method, "GET", "HEAD")
        # An exporter reads /proc, and in multiprocess mode a file of each worker.
        accept = request.header(b"accept") or "*/*"
        media, body = await on_own_thread(self._exporter.render, accept)
        return respond(200, media.encode(), body)
