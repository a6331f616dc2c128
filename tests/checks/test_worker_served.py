"""The three checks of a worker, in a real one: a consumer thread, a web server and a Redis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import get
from tests.e2e.servers import serve
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.e2e.servers import Server

    from ._servers import RedisServer

CONSUMER = Path(__file__).parent / "_consumer.py"


@pytest.fixture
def queue(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis of the worker's own."""
    return start_redis()


@pytest.fixture
def worker(queue: RedisServer) -> Generator[Server]:
    """A worker that has consumed its first job."""
    queue.ask("RPUSH jobs work")
    with serve(CONSUMER, REDIS_URL=queue.url) as server:
        wait_until(lambda: get(server.port, "/readyz").status == 200, "the worker is ready")
        yield server


def check(worker: Server, path: str) -> dict[str, Any]:
    """Return what the answer says of one check."""
    probe, _, name = path.strip("/").partition("/")
    found: dict[str, Any] = get(worker.port, f"/{probe}").json()["checks"][name]
    return found


def test_a_dead_consumer_behind_a_live_server_fails_liveness(
    queue: RedisServer, worker: Server
) -> None:
    """The HTTP thread answers, and says that the loop does not turn any more."""
    assert get(worker.port, "/healthz").status == 200
    queue.ask("RPUSH jobs die")
    wait_until(lambda: get(worker.port, "/healthz").status == 503, "the silence is noticed")
    message = check(worker, "/healthz/consumer")["message"]
    assert message.startswith("loop 'consumer' has not beaten for ")


def test_jobs_that_fail_one_after_the_other_fail_readiness(
    queue: RedisServer, worker: Server
) -> None:
    """Until one succeeds."""
    queue.ask("RPUSH jobs fail fail fail")
    wait_until(lambda: get(worker.port, "/readyz").status == 503, "the failures are noticed")
    assert check(worker, "/readyz/jobs")["message"] == "failures in a row: 3, at most 2"
    queue.ask("RPUSH jobs work")
    wait_until(lambda: get(worker.port, "/readyz").status == 200, "the success is noticed")
    assert check(worker, "/readyz/jobs")["detail"]["failures"] == 3


def test_a_queue_that_grows_is_seen(queue: RedisServer, worker: Server) -> None:
    """The depth is in the answer once the consumer has gone."""
    queue.ask("RPUSH jobs die 1 2 3 4 5 6")
    wait_until(lambda: get(worker.port, "/readyz").status == 503, "the depth is noticed")
    found = check(worker, "/readyz/depth")
    assert found["message"] == "6 is above 5"
    assert found["detail"]["value"] == 6


def test_while_redis_hangs_the_last_depth_stands(queue: RedisServer, worker: Server) -> None:
    """Marked stale, until it is too old; and the next number ends that."""
    queue.pause()
    wait_until(lambda: check(worker, "/readyz/depth")["detail"]["stale"], "the number is stale")
    wait_until(lambda: get(worker.port, "/readyz").status == 503, "the number is too old")
    assert check(worker, "/readyz/depth")["message"].startswith("no number for ")
    queue.resume()
    wait_until(lambda: get(worker.port, "/readyz").status == 200, "the next number")
    assert check(worker, "/readyz/depth")["detail"]["stale"] is False
