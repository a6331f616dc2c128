"""The Starlette door: routes, for an application that wants no middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from probekit.asgi import probe_app
from probekit.exceptions import MissingExtraError

try:
    from starlette.routing import Route
except ImportError as _error:
    raise MissingExtraError(__name__, package="starlette", extra="starlette") from _error

if TYPE_CHECKING:
    from probekit._web.endpoints import EndpointOptions
    from probekit.probes import Probes

__all__ = ["routes"]


def routes(probes: Probes, **options: Unpack[EndpointOptions]) -> list[Route]:
    """Return the endpoints as routes, hidden from the OpenAPI schema.

    ::

        app = Starlette(routes=[*routes(probes), ...], lifespan=lifespan)

    Routes stand behind the application's middleware, count nothing and see no lifespan: enter
    ``async with probes.lifespan():`` in yours. `probekit.asgi.ProbeMiddleware` does all of it.

    Args:
        probes: What to answer.
        **options: See `probekit.asgi.ProbeMiddleware`.

    Raises:
        ConfigurationError: If an option cannot work.
    """
    app = probe_app(probes, **options)
    return [
        Route(path + tail, app, include_in_schema=False)
        for path in app.endpoints.paths
        for tail in ("", "/{check:path}")
    ]
