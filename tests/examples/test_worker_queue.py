"""The worker's queues: what both can do, and what the one on Redis does when a worker dies."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from examples.worker.jobs import ATTEMPTS, Job, MemoryQueue
from examples.worker.redis_queue import RedisQueue
from redis.exceptions import RedisError

from tests.checks._starting import redis_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from examples.worker.jobs import Queue, Taken

    from tests.checks._servers import RedisServer

SOON = 0.02
"""Seconds to wait for a job that is there, or that must not be."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    """A Redis for the whole module."""
    with redis_of(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def join(redis: RedisServer) -> Generator[Callable[[], RedisQueue]]:
    """Make queues, one for each worker; the Redis behind them is empty at first."""
    redis.ask("FLUSHALL")
    made: list[RedisQueue] = []

    def make() -> RedisQueue:
        made.append(RedisQueue(redis.url))
        return made[-1]

    yield make
    for queue in made:
        queue.client.close()


@pytest.fixture(params=["memory", "redis"])
def queue(request: pytest.FixtureRequest) -> Queue:
    """Each queue in turn, empty."""
    if request.param == "memory":
        return MemoryQueue()
    made: Queue = request.getfixturevalue("join")()
    made.keep()
    return made


def take(queue: Queue, consumer: str = "a") -> Taken:
    """Take a job that must be there."""
    taken = queue.take(consumer, wait=1)
    assert taken is not None
    return taken


def is_empty(queue: Queue) -> bool:
    """Whether nothing can be taken, not even after putting back what nobody holds."""
    queue.keep()
    return queue.take("last", wait=SOON) is None


def test_jobs_come_in_their_order(queue: Queue) -> None:
    """The oldest is first; what is done is gone."""
    jobs = [Job(), Job(2.5, "fail"), Job()]
    queue.put(*jobs)
    assert (queue.depth(), queue.dead()) == (3, 0)
    for job in jobs:
        taken = take(queue)
        assert (taken.job, taken.attempt) == (job, 1)
        queue.done(taken)
    assert is_empty(queue)
    assert (queue.depth(), queue.oldest()) == (0, 0.0)


def test_a_waiting_consumer_gets_the_next_job(queue: Queue) -> None:
    """It need not come round for it."""
    job = Job()
    timer = threading.Timer(0.05, queue.put, [job])
    timer.start()
    taken = queue.take("a", wait=10)
    timer.join()
    assert taken is not None
    assert taken.job == job


def test_age_is_that_of_the_next_job(queue: Queue) -> None:
    """Whatever has come since."""
    queue.put(Job(enqueued=time.time() - 90), Job())
    assert 90 <= queue.oldest() < 100


def test_failed_job_waits_its_turn_and_is_a_dead_letter_at_last(queue: Queue) -> None:
    """The others come first, and it is not tried for ever."""
    bad, good = Job(kind="fail"), Job()
    queue.put(bad, good)
    queue.failed(take(queue))
    taken = take(queue)
    assert taken.job == good
    queue.done(taken)
    for attempt in range(2, ATTEMPTS + 1):
        taken = take(queue)
        assert (taken.job, taken.attempt) == (bad, attempt)
        assert queue.dead() == 0
        queue.failed(taken)
    assert is_empty(queue)
    assert queue.dead() == 1


def test_requeued_job_is_the_next_and_no_attempt_is_counted(queue: Queue) -> None:
    """However often that happens: it is not the job's fault."""
    first, second = Job(), Job()
    queue.put(first, second)
    for _ in range(2 * ATTEMPTS):
        taken = take(queue)
        assert (taken.job, taken.attempt) == (first, 1)
        queue.requeue(taken)
    queue.done(take(queue))
    assert take(queue).job == second
    assert queue.dead() == 0


def test_jobs_of_a_dead_worker_go_back(join: Callable[[], RedisQueue]) -> None:
    """Those of the living stay, however long they take."""
    dead, living = join(), join()
    jobs = [Job(), Job(), Job()]
    living.put(*jobs)
    living.keep()
    dead.keep()
    held = [take(dead, "a"), take(dead, "b")]
    slow = take(living)
    living.keep()
    assert living.depth() == 0
    dead.leave()  # its lease has ended
    living.keep()
    assert living.depth() == 2
    again = [take(living, "c"), take(living, "d")]
    assert {taken.job.id for taken in again} == {taken.job.id for taken in held}
    assert {taken.attempt for taken in again} == {2}
    for taken in [slow, *again]:
        living.done(taken)
    assert is_empty(living)


def test_lease_ends_by_itself(join: Callable[[], RedisQueue]) -> None:
    """A worker that dies says nothing, so Redis is told beforehand."""
    queue = join()
    queue.keep()
    left: object = queue.client.pttl(f"jobs:lease:{queue.worker}")
    assert isinstance(left, int)
    assert 0 < left <= 15_000


def test_worker_that_was_taken_for_dead_harms_nothing(join: Callable[[], RedisQueue]) -> None:
    """What it says of a job that somebody else has by now changes nothing."""
    stopped, other = join(), join()
    other.keep()
    other.put(Job())
    taken = take(stopped)
    other.keep()
    again = take(other)
    stopped.failed(taken)
    stopped.requeue(taken)
    stopped.done(taken)
    assert other.depth() == 0
    other.requeue(again)
    assert other.depth() == 1
    assert take(stopped).job == taken.job


def test_what_a_lost_answer_left_behind_is_found(join: Callable[[], RedisQueue]) -> None:
    """The consumer that should have had it puts it back when it comes round."""
    queue = join()
    queue.keep()
    queue.put(Job())
    lost = take(queue)
    assert take(queue).job == lost.job


def test_job_that_kills_its_workers_is_a_dead_letter_at_last(
    join: Callable[[], RedisQueue],
) -> None:
    """Nobody lives to say that it failed, so it is counted when it is begun."""
    queue = join()
    queue.put(Job())
    for _ in range(ATTEMPTS):
        worker = join()
        worker.keep()
        take(worker)
        worker.leave()
        queue.keep()
    assert queue.take("a", wait=SOON) is None
    assert queue.dead() == 1
    assert is_empty(queue)


def die_after(queue: RedisQueue, commands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis hear so many more commands of this worker, and no other."""
    left = itertools.count(commands, -1)
    execute: Any = queue.client.execute_command

    def execute_or_die(*arguments: Any, **options: Any) -> Any:
        if next(left) <= 0:
            raise RedisError("it is dead")
        return execute(*arguments, **options)

    monkeypatch.setattr(queue.client, "execute_command", execute_or_die)


def test_putting_back_is_one_step(
    join: Callable[[], RedisQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can take the job and be done with it before it is counted: no count is left behind."""
    queue, other = join(), join()
    queue.keep()
    queue.put(Job())
    queue.requeue(take(queue))  # Redis knows the script by now
    taken = take(queue)
    die_after(queue, 1, monkeypatch)
    queue.requeue(taken)
    assert other.client.hvals("jobs:begun") == ["0"]
    other.done(take(other))
    assert other.client.hlen("jobs:begun") == 0


@pytest.mark.parametrize("commands", range(5))
def test_a_death_while_a_job_is_taken_loses_nothing(
    join: Callable[[], RedisQueue], monkeypatch: pytest.MonkeyPatch, commands: int
) -> None:
    """Whichever command was the last."""
    dying, other = join(), join()
    other.keep()
    job = Job()
    other.put(job)
    die_after(dying, commands, monkeypatch)
    with suppress(RedisError):
        dying.take("a", wait=SOON)
    other.keep()
    assert take(other).job == job


def test_who_waits_while_taken_for_dead_holds_what_comes_where_others_find_it(
    join: Callable[[], RedisQueue],
) -> None:
    """The name that was struck out meanwhile is written down again, with the job."""
    stopped, other = join(), join()
    other.keep()
    taken: list[Taken | None] = []
    waiting = threading.Thread(target=lambda: taken.append(stopped.take("a", wait=20)))
    waiting.start()
    wait_until(lambda: other.client.info("clients")["blocked_clients"] == 1, "it waits")
    other.keep()
    assert other.client.scard("jobs:holders") == 0
    job = Job()
    other.put(job)
    waiting.join(20)
    assert [each.job for each in taken if each] == [job]
    assert other.depth() == 0
    other.keep()
    assert take(other).job == job


def test_who_is_too_late_for_a_job_begins_nothing(
    join: Callable[[], RedisQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for dead in the middle of taking, and the job is somebody else's."""
    slow, other = join(), join()
    other.keep()
    other.put(Job())
    begin = slow._begin
    again: list[Taken] = []

    def begin_late(**options: Any) -> object:
        other.keep()
        again.append(take(other))
        return begin(**options)

    monkeypatch.setattr(slow, "_begin", begin_late)
    assert slow.take("a", wait=SOON) is None
    other.done(again[0])
    assert other.client.hlen("jobs:begun") == 0


def test_the_lease_is_kept_without_a_look_at_the_keys_of_others(
    join: Callable[[], RedisQueue], redis: RedisServer
) -> None:
    """On a Redis that others fill, that look would take longer than the lease lasts."""
    queue = join()
    queue.put(Job())
    taken = take(queue)
    redis.ask("CONFIG RESETSTAT")
    for _ in range(3):
        queue.keep()
    asked = queue.client.info("commandstats")
    assert "cmdstat_smembers" in asked
    assert not {"cmdstat_scan", "cmdstat_keys"} & asked.keys()
    queue.done(taken)


def test_done_too_late_leaves_the_count_of_who_has_the_job_now(
    join: Callable[[], RedisQueue],
) -> None:
    """Or a job that kills its workers would be tried for ever."""
    stopped, other = join(), join()
    other.keep()
    other.put(Job())
    taken = take(stopped)
    other.keep()
    again = take(other)
    stopped.done(taken)
    assert other.client.hvals("jobs:begun") == ["2"]
    other.done(again)
    assert other.client.hlen("jobs:begun") == 0


@pytest.mark.parametrize("entry", ["no JSON", "[]", '{"amount": 3}'])
def test_entry_that_is_no_job_is_a_dead_letter_at_once(
    join: Callable[[], RedisQueue], entry: str
) -> None:
    """It stops no consumer."""
    queue = join()
    queue.client.lpush("jobs", entry)
    assert queue.take("a", wait=SOON) is None
    assert queue.dead() == 1
    assert is_empty(queue)
