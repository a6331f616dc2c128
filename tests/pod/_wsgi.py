"""The same as `_app`, for servers that speak WSGI."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from probekit import Probes
from probekit.wsgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at once, or late."""
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1.5)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


probes = Probes(drain_delay=0, observers=[])


@probes.readiness
def database() -> None:
    """Be there; a worker is not known to be ready before it has asked."""


middleware = ProbeMiddleware(application, probes=probes)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say in every response which worker it comes from."""

    def sign(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, [*headers, ("X-Pid", str(os.getpid()))], exc_info)

    return middleware(environ, sign)
