"""The Flask door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, cast

from probekit.exceptions import ConfigurationError, MissingExtraError
from probekit.wsgi import ProbeMiddleware

try:
    from flask import Flask
except ImportError as _error:
    raise MissingExtraError(__name__, package="flask", extra="flask") from _error

if TYPE_CHECKING:
    from probekit._web.serving import MiddlewareOptions
    from probekit.probes import Probes

__all__ = ["init_app"]


def init_app(app: Flask, probes: Probes, **options: Unpack[MiddlewareOptions]) -> None:
    """Let ``app`` answer the probes; call it in the application factory.

    The probes stand before everything that Flask does: no ``before_request``, no blueprint and no
    authentication is in their way. ``app.extensions["probekit"]`` is then ``probes``. Middleware
    that wraps ``app.wsgi_app`` later stands before them.

    Args:
        app: The application.
        probes: What to answer; of each application its own.
        **options: See `probekit.wsgi.ProbeMiddleware`.

    Raises:
        ConfigurationError: If this is no Flask application, or one that answers probes already, or
            an option cannot work.
    """
    if not isinstance(cast("object", app), Flask):
        raise ConfigurationError(
            f"init_app takes a Flask application and its Probes, got {app!r}; for any other "
            f"application there are probekit.wsgi and probekit.asgi"
        )
    if "probekit" in app.extensions:
        raise ConfigurationError(
            f"Flask application {app.name!r} answers probes already; call init_app once for each"
        )
    app.wsgi_app = ProbeMiddleware(app.wsgi_app, probes=probes, **options)  # type: ignore[method-assign] # as Flask's documentation says
    app.extensions["probekit"] = probes
