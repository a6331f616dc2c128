"""A WSGI application whose requests take SECONDS; SIDE_PORT is its side port."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from probekit import Probes
from probekit.wsgi import ProbeMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


SECONDS = float(os.environ.get("SECONDS", "3"))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer late, or tell who answers, or fork a child that stays for a while."""
    if environ["PATH_INFO"] == "/pid":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    if environ["PATH_INFO"] == "/fork":
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]
    time.sleep(SECONDS)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"late"]


probes = Probes(drain_delay=0, observers=[])


@probes.readiness
def check() -> None:
    """Be well."""


app = ProbeMiddleware(
    application, probes=probes, side_port=int(os.environ["SIDE_PORT"]), side_host="127.0.0.1"
)
