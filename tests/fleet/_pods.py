"""Two servers of two workers, a Redis, and what is asked of them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.servers import Server, serve
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.checks._servers import RedisServer

__all__ = ["Replica", "connections", "kill", "pod", "seen_by_all", "statuses", "watchers"]

APP = Path(__file__).with_name("apps") / "shop.py"


class Replica:
    """A server of two workers, of which each can be asked."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def ask(self, path: str = "/readyz") -> tuple[int, int, dict[str, Any]]:
        """Ask whichever worker takes the connection; return its process, the code and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return int(response.headers["x-pid"]), response.status, json.loads(response.read())
        finally:
            connection.close()

    def get(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """Return the code and the body of one answer."""
        return self.ask(path)[1:]

    def answers(self) -> dict[int, int]:
        """Ask until both workers have answered; return the code that each gave last."""
        found: dict[int, int] = {}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, code, _ = self.ask()
            found[pid] = code
            if len(found) == 2:
                return found
        raise TimeoutError(f"no two workers answer: {self.server.log()}")

    @property
    def workers(self) -> list[int]:
        """The processes that serve."""
        return sorted(self.answers())

    def codes(self) -> set[int]:
        """Return the codes that the two workers answer with."""
        return set(self.answers().values())


def pod(url: str, on: str = "uvicorn-asyncio", **environ: str) -> Server:
    """Return a server of two workers, not yet started."""
    options = ["--workers", "2", "--log-level", "warning"]
    variables = {"REDIS": url, "PROBEKIT_SCOPE": "pod"} | environ
    return serve(APP, on, *options, port=None, measured=True, **variables)


def statuses(replicas: Iterable[Replica]) -> set[int]:
    """Return the codes that all replicas answer with."""
    return set().union(*(replica.codes() for replica in replicas))


def seen_by_all(replicas: Iterable[Replica], *, draining: bool) -> float:
    """Return the seconds until every worker answers so."""
    began = time.monotonic()
    wanted = {503 if draining else 200}
    for replica in replicas:
        while replica.codes() != wanted:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"not all workers draining={draining}: {replica.server.log()}")
    return time.monotonic() - began


def connections(redis: RedisServer) -> int:
    """Return how many clients the Redis has, without the one that asks."""
    import redis as library

    with library.Redis.from_url(redis.url) as client:
        return len(client.client_list()) - 1


def watchers(redis: RedisServer, pids: Iterable[int]) -> list[int]:
    """Return which of these processes have a connection to the Redis, by the kernel's tables."""
    return [pid for pid in pids if redis.port in peers(pid)]


def peers(pid: int) -> set[int]:
    """Return the TCP ports of 127.0.0.1 that a process is connected to."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[3] == "01":
            found.add(int(fields[2].rpartition(":")[2], 16))
    return found


def kill(pid: int) -> None:
    """End a process as a crash does."""
    os.kill(pid, signal.SIGKILL)
