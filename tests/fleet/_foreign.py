"""What stands in a Redis where the fleet's keys should be, and servers that are no Redis."""

from __future__ import annotations

import json
import socketserver
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis import Redis

from tests.waiting import answering

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.checks._servers import RedisServer

__all__ = ["SWITCH", "client_of", "no_redis", "switch"]

SWITCH = "probekit:fleet:shop:switch"
PODS = "probekit:fleet:shop:pods"


def client_of(server: RedisServer) -> Any:
    """Return a client of the test's own."""
    return Redis.from_url(server.url, decode_responses=True)


def switch(**changed: object) -> str:
    """Return the JSON of a switch with other values."""
    good = {"probekit": "fleet-switch", "version": 1, "reason": "", "by": "", "since": 1.0}
    return json.dumps(good | changed)


@contextmanager
def no_redis(answer: bytes) -> Generator[int]:
    """Yield the port of a server that answers every line alike."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for _ in self.rfile:
                self.wfile.write(answer)

    with answering(Handler) as port:
        yield port
