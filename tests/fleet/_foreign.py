"""What stands in a Redis where the fleet's keys should be, and servers that are no Redis."""

from __future__ import annotations

import json
import re
import socketserver
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis import Redis

from tests.waiting import answering

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.checks._servers import RedisServer

__all__ = [
    "FALLEN_APART",
    "PODS",
    "SWITCH",
    "client_of",
    "no_redis",
    "parts_in",
    "pod_line",
    "switch",
]

SWITCH = "probekit:fleet:shop:switch"
PODS = "probekit:fleet:shop:pods"

FALLEN_APART = [
    "redis://:s3cr#etpw@redis:6379/0",
    "redis://:hunter#2@redis",
    "redis://:12#hunter2@redis",
    "redis://:12/hunter2@redis",
    "redis://:12/3@redis:6379/0",
    "redis://:hunter/two@host",
    "redis://:hunter/two",
    "redis://anna:hunter/two@host:6379/0",
    "redis://:12?hunter2@redis",
    "redis://:12?hunter2=two@redis",
    "redis://:hunter?two@host",
    "redis://:s3cr[et]pw@redis",
    "redis://:hunter[two@host",
    "redis://:hunter]two@host",
    "redis://:hunter\u2100two@host",
    "rediss://:s3cr#etpw@redis",
    "unix://:12/hunter2@/run/redis.sock",
    "unix://:hunter#two@/run/redis.sock",
    "hunter2:x@redis",
    "hunter2://x@redis",
    "redis:hunter2@redis",
    "anna:hunter2@redis:6379",
    "http://:hunter2@redis",
    " redis://:hunter2@redis",
]
"""URLs whose password holds a character that ends a part of a URL, or that are none."""


def client_of(server: RedisServer) -> Any:
    """Return a client of the test's own."""
    return Redis.from_url(server.url, decode_responses=True)


def switch(**changed: object) -> str:
    """Return the JSON of a switch with other values."""
    good = {"probekit": "fleet-switch", "version": 1, "reason": "", "by": "", "since": 1.0}
    return json.dumps(good | changed)


def parts_in(text: str) -> list[str]:
    """Return the parts of the passwords of `FALLEN_APART` that a text shows."""
    return re.findall(r"s3cr|etpw|hunter|two|12|anna|\b3\b", text)


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
