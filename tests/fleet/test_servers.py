"""The switch and two pods of two workers, on uvicorn, with a Redis that comes and goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from probekit.fleet import Fleet
from tests.waiting import wait_until

from ._pods import Replica, connections, kill, pod, seen_by_all, statuses, watchers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.checks._servers import RedisServer

pytestmark = pytest.mark.timeout(90)


def fleet_of(redis: RedisServer) -> Fleet:
    """Return the operator's side."""
    return Fleet(redis.url, app="shop")


def listed(fleet: Fleet, *, workers: int) -> bool:
    """Whether so many workers are ready, by what their pods said of themselves."""
    return sum(each.ready for each in fleet.status().replicas if each.state != "left") == workers


def all_drain(replica: Replica) -> bool:
    """Whether all workers are shown as draining."""
    _, page = replica.get("/admin/drain")
    return all(worker["draining"] for worker in page["workers"])


@pytest.fixture(scope="module")
def pods(redis: RedisServer) -> Generator[list[Replica]]:
    """Two pods of two workers each."""
    with pod(redis.url, VERSION="1.0") as one, pod(redis.url, VERSION="1.1") as other:
        yield [Replica(one), Replica(other)]


@pytest.fixture
def both(pods: list[Replica], redis: RedisServer) -> list[Replica]:
    """The two pods, open, watching and listed."""
    statuses(pods)
    fleet = fleet_of(redis)
    fleet.undrain()
    wait_until(lambda: listed(fleet, workers=4), "both pods are listed")
    seen_by_all(pods, draining=False)
    return pods


class TestTogether:
    def test_the_switch_reaches_every_worker(self, both: list[Replica], redis: RedisServer) -> None:
        """All four workers turn unready and ready again, within half a second each time."""
        fleet = fleet_of(redis)
        for _ in range(5):
            assert fleet.drain(reason="move", by="anna").told == 2
            assert seen_by_all(both, draining=True) < 0.5
            assert fleet.undrain().told == 2
            assert seen_by_all(both, draining=False) < 0.5

    def test_answers_say_who_drained(self, both: list[Replica], redis: RedisServer) -> None:
        """Readiness and the drain's page tell why and by whom, and DELETE is refused."""
        fleet_of(redis).drain(reason="move", by="anna", lease=60)
        seen_by_all(both, draining=True)
        for replica in both:
            _, body = replica.get()
            assert (body["draining"]["reason"], body["draining"]["by"]) == ("move", "anna")
            assert body["draining"]["until"] is not None
            _, page = replica.get("/admin/drain")
            assert page["fleet"] == page["draining"] == body["draining"]
        wait_until(lambda: all(map(all_drain, both)), "each worker's line says so")

    def test_a_pod_has_two_connections(self, both: list[Replica], redis: RedisServer) -> None:
        """One worker of each pod watches, whatever the number of workers."""
        assert connections(redis) == 2 * len(both)
        for replica in both:
            assert len(watchers(redis, replica.workers)) == 1

    def test_every_replica_is_listed(self, both: list[Replica], redis: RedisServer) -> None:
        """The overview counts pods, with their workers, versions and states."""
        fleet = fleet_of(redis)
        found = fleet.status()
        assert [each.version for each in found.replicas] == ["1.0", "1.1"]
        assert [(each.workers, each.ready, each.state) for each in found.replicas] == [
            (2, 2, "healthy")
        ] * 2
        assert (found.total, found.healthy, found.unhealthy, found.percent) == (2, 2, 0, 100.0)
        assert found.good
        fleet.drain()
        wait_until(
            lambda: all(each.fleet and each.draining == 2 for each in fleet.status().replicas),
            "both pods say that they drain",
        )
        found = fleet.status()
        assert not found.good
        assert {each.state for each in found.replicas} == {"draining"}
        assert (found.healthy, found.percent) == (0, 0.0)

    def test_answers_go_on_while_redis_hangs(self, both: list[Replica], redis: RedisServer) -> None:
        """No probe waits for a Redis that hangs; the benchmark compares the times."""
        redis.pause()
        try:
            began = time.monotonic()
            while time.monotonic() - began < 3:
                for replica in both:
                    asked = time.monotonic()
                    assert replica.get()[0] == 200
                    assert time.monotonic() - asked < 1
        finally:
            redis.resume()

    def test_a_lease_ends_without_redis(self, both: list[Replica], redis: RedisServer) -> None:
        """What was heard ends on time everywhere, though Redis hangs."""
        fleet_of(redis).drain(lease=1.5)
        began = time.monotonic()
        seen_by_all(both, draining=True)
        redis.pause()
        try:
            seen_by_all(both, draining=False)
            assert 1.4 < time.monotonic() - began < 2.5
            assert statuses(both) == {200}
        finally:
            redis.resume()

    def test_the_last_word_stands_while_redis_hangs(
        self, both: list[Replica], redis: RedisServer
    ) -> None:
        """A drain goes on; once Redis is back, its end is seen within 6 s."""
        fleet = fleet_of(redis)
        fleet.drain()
        seen_by_all(both, draining=True)
        redis.pause()
        try:
            time.sleep(2.5)  # longer than the watchers wait for an answer
            assert statuses(both) == {503}
        finally:
            redis.resume()
        fleet.undrain()
        assert seen_by_all(both, draining=False) < 6


class TestElection:
    def test_another_worker_takes_over(self, both: list[Replica], redis: RedisServer) -> None:
        """After kill -9 of the watcher's process the next one hears a turn within two seconds."""
        replica = both[0]
        [leader] = watchers(redis, replica.workers)
        kill(leader)
        killed = time.monotonic()
        wait_until(
            lambda: [pid for pid in watchers_alive(redis, replica) if pid != leader] != [],
            "another worker watches",
        )
        assert time.monotonic() - killed < 6  # a busy machine: the benchmark holds it to 2
        fleet_of(redis).drain()
        assert seen_by_all(both, draining=True) < 3


def watchers_alive(redis: RedisServer, replica: Replica) -> list[int]:
    """Return the watchers among the workers; one that has just been killed is none."""
    try:
        return watchers(redis, replica.workers)
    except (OSError, ConnectionError):
        return []


class TestComingAndGoing:
    def test_a_pod_that_leaves_says_so(self, start_redis: Callable[..., RedisServer]) -> None:
        """One that nobody asks is healthy; stopped in order it has left, and counts no more."""
        redis = start_redis()
        fleet = fleet_of(redis)
        with pod(redis.url):
            wait_until(lambda: listed(fleet, workers=2), "the pod is listed")
            assert fleet.status().good
        [replica] = fleet.status().replicas
        assert replica.state == "left"
        assert fleet.status().total == 0

    def test_a_pod_is_born_open_while_redis_is_away(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        """It serves, says once what is wrong, and hears the switch once Redis is there."""
        server = start_redis()
        server.stop()
        with pod(server.url) as one:
            replica = Replica(one)
            assert replica.codes() == {200}
            wait_until(lambda: "cannot be reached" in one.log(), "it says what is wrong")
            server.start()
            fleet_of(server).drain()
            assert seen_by_all([replica], draining=True) < 6
            assert one.log().count("cannot be reached") == 1

    def test_a_redis_that_forgot_opens_the_pods(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        """The key is the truth: a Redis restarted without its data ends the drain within 5 s."""
        server = start_redis()
        with pod(server.url) as one:
            replica = Replica(one)
            replica.codes()
            fleet = fleet_of(server)
            wait_until(lambda: listed(fleet, workers=2), "the pod is listed")
            fleet.drain()
            seen_by_all([replica], draining=True)
            server.crash()
            assert replica.codes() == {503}
            server.start()
            assert seen_by_all([replica], draining=False) < 5

    def test_processes_that_share_nothing_watch_for_themselves(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        """With the scope process each worker is a replica, and the switch reaches it."""
        redis = start_redis()
        fleet = fleet_of(redis)
        with pod(redis.url, PROBEKIT_SCOPE="process") as server:
            replica = Replica(server)
            wait_until(
                lambda: replica.get() is not None and len(fleet.status().replicas) == 2,
                "both workers are listed",
            )
            assert fleet.drain().told == 2
            assert seen_by_all([replica], draining=True) < 0.5
            fleet.undrain()
            assert seen_by_all([replica], draining=False) < 0.5
