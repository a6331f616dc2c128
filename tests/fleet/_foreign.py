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

__all__ = [
    "PODS",
    "SWITCH",
    "client_of",
    "no_redis",
    "pod_line",
    "switch",
]

SWITCH = "probekit:fleet:shop:switch"
PODS = "probekit:fleet:shop:pods"


def client_of(server: RedisServer) -> Any:
    """Return a client of the test's own."""
    return Redis.from_url(server.url, decode_responses=True)


def switch(**changed: object) -> str:
    """Return the JSON of a switch with other values."""
    good = {"probekit": "fleet-switch", "version": 1, "reason": "", "by": "", "since": 1.0}
    return json.dumps(good | changed)


def pod_line(client: Any, name: str, *, at: float = 0.0, **said: object) -> None:
    """Write what a pod said, so many seconds ago."""
    now = client.time()[0]
    line = {
        "probekit": "fleet-pod",
        "version": 1,
        "host": name.partition("/")[0],
        "application": "1",
        "since": now - at - 100,
        "at": now - at,
        "left": False,
        "workers": 2,
        "ready": 2,
        "unknown": 0,
        "draining": 0,
        "requests": 0,
        "websockets": 0,
        "jobs": 0,
        "fleet": False,
    } | said
    client.hset(PODS, mapping={"probekit": "fleet-pods", name: json.dumps(line)})


@contextmanager
def no_redis(answer: bytes) -> Generator[int]:
    """Yield the port of a server that answers every line alike."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for _ in self.rfile:
                self.wfile.write(answer)

    with answering(Handler) as port:
        yield port
