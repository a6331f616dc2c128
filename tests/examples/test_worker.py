"""The worker of examples/worker: it loses no job, and tells the platform the truth."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from examples.worker.jobs import Job
from examples.worker.redis_queue import RedisQueue

from tests.checks._starting import redis_of
from tests.e2e.clients import get, request
from tests.waiting import free_port, wait_until

from ._workers import ENDINGS, ROOT, Child, Fleet, Nursery, Worker, rendered

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.checks._servers import RedisServer

pytestmark = pytest.mark.timeout(60)

DEATHS = 200
AT_ONCE = 3
SEED = 20_261_121
QUICK = {"LEASE_SECONDS": "1.5", "WAIT_SECONDS": "0.2"}
"""The variables of a worker that is asked what it says."""
GIVEN_BACK = " has been given to "
"""What the log says of a job that a worker had no patience for."""
RESTLESS = {
    "ATTEMPTS": "1000",
    "CONSUMERS": "3",
    "LEASE_SECONDS": "1.5",
    "LINGER_SECONDS": "0.4",
    "WAIT_SECONDS": "0.2",
}
"""The variables of workers that come and go."""


@pytest.fixture
def redis(tmp_path: Path) -> Generator[RedisServer]:
    """A Redis, empty."""
    with redis_of(tmp_path) as server:
        yield server


@pytest.fixture
def queue(redis: RedisServer) -> Generator[RedisQueue]:
    """The queue, as somebody sees it who orders invoices."""
    queue = RedisQueue(redis.url)
    yield queue
    queue.client.close()


def nobody_has_anything(queue: RedisQueue) -> bool:
    """Whether no job waits, and none is taken."""
    return queue.depth() == 0 and not queue.client.keys("jobs:taken:*")


@pytest.mark.timeout(300)
def test_two_hundred_deaths_lose_no_job(
    tmp_path: Path, redis: RedisServer, queue: RedisQueue
) -> None:
    """Killed, drained, signalled twice, at random moments: every job is done all the same."""
    chance = random.Random(SEED)
    ordered: list[str] = []
    started = itertools.count(1)

    def order() -> None:
        # One of a hundred takes longer than a worker that leaves has the patience for.
        jobs = [Job(0.8 if chance.random() < 0.01 else 0.02) for _ in range(100)]
        queue.put(*jobs)
        ordered.extend(job.id for job in jobs)

    with Nursery() as nursery:

        def start() -> Worker:
            log = tmp_path / f"worker-{next(started)}.log"
            return Child(nursery, log, REDIS_URL=redis.url, **RESTLESS)

        fleet = Fleet(start, chance)
        lives = [fleet.lives() for _ in range(AT_ONCE)]
        try:
            while fleet.endings.total() < DEATHS:
                if queue.depth() < 100:
                    order()
                for life in lives:
                    next(life)
                time.sleep(0.01)
        finally:
            for life in lives:
                life.close()
        with start() as last:
            wait_until(lambda: nobody_has_anything(queue), "all is done", patience=60)
            last.signal(signal.SIGTERM)
            assert last.wait() == 0, last.log()

    attempts = rendered(tmp_path)
    print(f"seed {SEED}; how the workers ended: {dict(fleet.endings)}")  # noqa: T201 - for -rP
    again = sum(max(each) > 1 for each in attempts.values())
    twice = sum(len(each) > 1 for each in attempts.values())
    given_back = sum(
        log.read_text("utf-8").count(GIVEN_BACK) for log in tmp_path.glob("worker-*.log")
    )
    print(  # noqa: T201 - likewise
        f"{len(ordered)} jobs, {again} begun again, {twice} done twice, {given_back} given back"
    )
    assert set(ordered) - set(attempts) == set()
    assert queue.dead() == 0
    assert queue.client.hlen("jobs:begun") == 0
    # Otherwise nothing was at stake. Each ending misses with a chance of 0.75 to the power of 200,
    # and a consumer is hardly ever without a job.
    assert {name for name, _ in fleet.endings} == {ending.__name__ for ending in ENDINGS}
    assert again > 0
    assert given_back > 0


def check(worker: Worker, path: str, name: str) -> dict[str, object]:
    """Return what an endpoint says of a check."""
    found: dict[str, object] = get(worker.port, path).json()["checks"][name]
    return found


def verdict(worker: Worker) -> tuple[int, object]:
    """Return the status of readiness, as a code and as a word."""
    answer = get(worker.port, "/readyz")
    return answer.status, answer.json()["status"]


def test_one_command_starts_it_with_nothing(tmp_path: Path) -> None:
    """It orders invoices from itself, renders them, and leaves when it is told to."""
    with Worker(tmp_path / "log") as worker:
        assert "REDIS_URL is not set: a demo" in worker.log()
        wait_until(lambda: "is rendered, attempt 1" in worker.log(), "an invoice is rendered")
        assert get(worker.port, "/startupz").status == 200
        assert get(worker.port, "/healthz").status == 200
        wait_until(lambda: verdict(worker) == (200, "healthy"), "it is ready")
        assert [*get(worker.port, "/readyz").json()["checks"]] == [
            "jobs",
            "backlog",
            "oldest",
            "dead",
        ]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.log()


def test_ctrl_c_ends_it_as_sigterm_does(
    redis: RedisServer, queue: RedisQueue, tmp_path: Path
) -> None:
    """What is under way is done, the rest is left in the queue, and the status is 0."""
    with Worker(tmp_path / "worker-1.log", REDIS_URL=redis.url, CONSUMERS="1", **QUICK) as worker:
        queue.put(Job(0.5), Job(0.5))
        wait_until(lambda: queue.depth() == 1, "the first is taken")
        worker.signal(signal.SIGINT)
        assert worker.wait() == 0, worker.log()
    assert len(rendered(tmp_path)) + queue.depth() == 2
    assert not queue.client.keys("jobs:taken:*")


def test_a_loop_that_hangs_fails_liveness(
    tmp_path: Path, redis: RedisServer, queue: RedisQueue
) -> None:
    """It is named; SIGTERM puts its job back, and does not wait for it."""
    more = {"LONGEST_JOB_SECONDS": "2", "LINGER_SECONDS": "0.5"}
    with Worker(tmp_path / "log", REDIS_URL=redis.url, **QUICK, **more) as worker:
        wait_until(lambda: get(worker.port, "/healthz").status == 200, "it is alive")
        queue.put(Job(seconds=60))
        wait_until(lambda: get(worker.port, "/healthz").status == 503, "liveness fails")
        message = str(check(worker, "/healthz", "loops")["message"])
        assert re.search(r"loop 'consumer-\d' has not beaten for \S+ s, at most 2\.5 s", message)
        assert queue.depth() == 0
        worker.signal(signal.SIGTERM)
        assert worker.wait() == -signal.SIGTERM
        assert queue.depth() == 1
        assert queue.client.hvals("jobs:begun") == ["0"]  # it is not the job's fault


def test_dead_letters_degrade_and_nothing_more(
    tmp_path: Path, redis: RedisServer, queue: RedisQueue
) -> None:
    """They are everybody's, so this worker stays in service."""
    with Worker(tmp_path / "log", REDIS_URL=redis.url, ATTEMPTS="2", **QUICK) as worker:
        queue.put(*(Job(0, "fail") for _ in range(3)), Job(0))
        wait_until(lambda: queue.dead() == 3, "they are dead letters")
        complaint = "3 is above 0"
        wait_until(
            lambda: check(worker, "/readyz", "dead").get("message") == complaint, "it is told"
        )
        wait_until(lambda: verdict(worker) == (200, "degraded"), "it stays in service")
        assert "has no address" in worker.log()


def test_redis_away_is_no_reason_for_a_restart(
    tmp_path: Path, redis: RedisServer, queue: RedisQueue
) -> None:
    """Readiness fails and liveness does not, and it goes on where it was when Redis is back."""
    with Worker(tmp_path / "log", REDIS_URL=redis.url, **QUICK) as worker:
        redis.crash()
        wait_until(lambda: get(worker.port, "/readyz").status == 503, "readiness fails")
        assert check(worker, "/readyz", "redis")["status"] == "unhealthy"
        wait_until(lambda: "waits for its queue" in worker.log(), "it is told")
        assert get(worker.port, "/healthz").status == 200
        redis.start()
        wait_until(lambda: get(worker.port, "/readyz").status == 200, "it is ready again")
        queue.put(Job(0))
        wait_until(lambda: nobody_has_anything(queue), "it works again")


def blocked_clients(queue: RedisQueue) -> int:
    """Return how many consumers wait within Redis."""
    count: int = queue.client.info("clients")["blocked_clients"]
    return count


def test_an_operators_drain_pauses_it(
    tmp_path: Path, redis: RedisServer, queue: RedisQueue
) -> None:
    """It takes no more jobs and stays, until the drain is over."""
    with Worker(tmp_path / "log", REDIS_URL=redis.url, **QUICK) as worker:
        wait_until(lambda: blocked_clients(queue) > 0, "the consumers wait for jobs")
        assert request(worker.port, "POST", "/admin/drain").status == 202

        def nobody_waits() -> bool:
            for _ in range(20):
                if blocked_clients(queue):
                    return False
                time.sleep(0.05)
            return True

        wait_until(nobody_waits, "no consumer waits for a job any more, nor begins to")
        queue.put(Job(0))
        time.sleep(0.5)  # more than a turn
        assert queue.depth() == 1
        assert get(worker.port, "/readyz").status == 503
        assert get(worker.port, "/healthz").status == 200
        assert request(worker.port, "DELETE", "/admin/drain").status == 200
        wait_until(lambda: nobody_has_anything(queue), "it works again")


def enqueue(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command that orders invoices."""
    command = [sys.executable, "-m", "examples.worker.enqueue", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, timeout=30
    )


def test_invoices_are_ordered_by_hand(redis: RedisServer, queue: RedisQueue) -> None:
    """Where there is no Redis to put them, the command says so, in a line."""
    ordered = enqueue("3", "--seconds", "0.5", "--kind", "fail", REDIS_URL=redis.url)
    assert ordered.returncode == 0, ordered.stderr
    assert queue.depth() == 3
    taken = queue.take("test", wait=1)
    assert taken is not None
    assert (taken.job.seconds, taken.job.kind) == (0.5, "fail")
    refused = enqueue("3", REDIS_URL="")
    assert refused.returncode == 2
    assert "REDIS_URL is not set" in refused.stderr
    for nowhere in (f"redis://127.0.0.1:{free_port()}/0", "redis://127.0.0.1:port/0"):
        failed = enqueue("3", REDIS_URL=nowhere)
        assert failed.returncode == 1
        assert failed.stderr.startswith("python -m examples.worker.enqueue: nothing is ordered at ")
        assert failed.stderr.count("\n") == 1


def test_the_numbers_of_the_manifest_hang_together() -> None:
    """The jobs under way and what is put back fit the kubelet's grace, and so on."""
    text = (ROOT / "examples/worker/kubernetes.yaml").read_text(encoding="utf-8")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    numbers = {each["name"]: each.get("value") for each in container["env"]}
    longest, linger = float(numbers["LONGEST_JOB_SECONDS"]), float(numbers["LINGER_SECONDS"])
    assert linger > longest
    assert pod["terminationGracePeriodSeconds"] >= linger + 5 + 2
    assert numbers["HOST"] == "0.0.0.0"
    (port,) = container["ports"]
    paths = {"startupProbe": "/startupz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert container[probe]["timeoutSeconds"] >= 2
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
