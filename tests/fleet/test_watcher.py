"""A pod's watcher and a Redis that does not do what it should: said once, and nothing is lost."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from probekit._fleet.client import Source
from probekit._fleet.store import Store
from probekit._fleet.watcher import Watcher
from probekit._fleet.wire import Pod, keys_of
from probekit.fleet import Fleet
from tests.waiting import free_port, wait_until

from ._foreign import PODS, SWITCH, client_of, no_redis, switch
from ._service import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes
    from tests.checks._servers import RedisServer

    Warnings = Callable[[], list[str]]
    Start = Callable[..., RedisServer]

pytestmark = pytest.mark.timeout(60)


def join(probes: Probes, url: str, *, timeout: float = 0.3) -> Fleet:
    """Let probes join, and return what may turn their switch."""
    return Fleet(url, app="shop", version="7", timeout=timeout).join(probes)


def draining(probes: Probes) -> bool:
    """Whether the probes drain."""
    return probes.draining is not None


def announced(client: Any) -> str:
    """Return what the pod last said."""
    [line] = [value for name, value in client.hgetall(PODS).items() if name != "probekit"]
    return str(line)


def beat(client: Any) -> None:
    """Return when the watcher has looked at the switch and announced the pod twice more."""
    seen = {announced(client)}

    def twice() -> bool:
        seen.add(announced(client))
        return len(seen) == 3

    wait_until(twice, "two more announcements")


def test_the_switch_is_followed(probes: Probes, start_redis: Start) -> None:
    """What the operator writes is what the process answers with."""
    server = start_redis()
    fleet = join(probes, server.url)
    fleet.drain(reason="before", lease=60)
    with serving(probes):
        wait_until(lambda: draining(probes), "an old switch is seen")
        assert probes.draining is not None
        assert probes.draining.reason == "before"
        assert probes.draining.until == pytest.approx(time.time() + 60, abs=5)
        assert fleet.drain(reason="after").told == 1
        wait_until(lambda: "after" in str(probes.draining), "the renewal is seen", patience=1)
        fleet.undrain()
        wait_until(lambda: not draining(probes), "the end is seen", patience=1)
        wait_until(lambda: fleet.status().good, "the pod says so")
        [replica] = fleet.status().replicas
        assert replica.version == "7"
    [left] = fleet.status().replicas
    assert (left.state, left.since) == ("left", replica.since)
    with serving(probes):
        wait_until(lambda: fleet.status().good, "it is there again")
        assert fleet.status().replicas[0].since > left.since


def test_a_lease_that_is_read_again_is_the_same(probes: Probes, start_redis: Start) -> None:
    """Reading it every few seconds changes nothing, so that nothing is written or told."""
    server = start_redis()
    fleet = join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed")
        fleet.drain(lease=60)
        wait_until(lambda: draining(probes), "the drain is seen")
        before = probes.service.drain.fleet
        beat(client_of(server))
        assert probes.service.drain.fleet == before


def test_a_turn_without_a_message_is_seen(probes: Probes, start_redis: Start) -> None:
    """A key that changes without a message is seen by looking every three seconds."""
    server = start_redis()
    fleet = join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed")
        client_of(server).set(SWITCH, switch())
        wait_until(lambda: draining(probes), "it drains", patience=4)


def test_another_applications_key_changes_nothing(
    probes: Probes, start_redis: Start, warnings: Warnings
) -> None:
    """The last good word stands, the log says once why, and the key stays as it is."""
    server = start_redis()
    client = client_of(server)
    fleet = join(probes, server.url)
    fleet.drain(reason="good")
    with serving(probes):
        wait_until(lambda: draining(probes), "it drains")
        client.set(SWITCH, "theirs")
        client.publish("probekit:fleet:shop:turned", "")
        wait_until(lambda: bool(warnings()), "it says so")
        client.publish("probekit:fleet:shop:turned", "")
        beat(client)
        assert probes.draining is not None
        assert probes.draining.reason == "good"
        [warning] = warnings()
        assert warning.startswith(f"fleet shop: the key {SWITCH} holds something that probekit")
        assert client.get(SWITCH) == "theirs"
        client.delete(SWITCH)
        client.publish("probekit:fleet:shop:turned", "")
        wait_until(lambda: not draining(probes), "it is open")


def test_another_applications_hash_is_not_written_to(
    probes: Probes, start_redis: Start, warnings: Warnings
) -> None:
    """The pod is not listed, and follows the switch all the same."""
    server = start_redis()
    client = client_of(server)
    client.hset(PODS, "user:1", "anna")
    fleet = join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(warnings()), "it says so")
        [warning] = warnings()
        assert "a hash that probekit has not written" in warning
        assert warning.endswith("; this pod is not listed")
        fleet.drain()
        wait_until(lambda: draining(probes), "it drains")
    assert client.hgetall(PODS) == {"user:1": "anna"}


def test_a_line_of_another_version_is_replaced(probes: Probes, start_redis: Start) -> None:
    """The field is this pod's own, whatever an older or newer probekit wrote there."""
    server = start_redis()
    client = client_of(server)
    with serving(probes):
        key = probes.service.pod.key
    fleet = join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed")
        [name] = [each for each in client.hkeys(PODS) if each.endswith(key)]
        client.hset(PODS, name, json.dumps({"probekit": "fleet-pod", "version": 2}))
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed again", patience=5)


def test_a_replica_of_redis_is_followed(
    probes: Probes, start_redis: Start, warnings: Warnings
) -> None:
    """A read-only Redis shows the switch, and the log says once why the pod is not listed."""
    master = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    join(probes, replica.url)
    with serving(probes):
        Fleet(master.url, app="shop").drain()
        wait_until(lambda: draining(probes), "it drains")
        wait_until(lambda: bool(warnings()), "it says so")
        time.sleep(1.5)  # longer than the first period: nothing more may be said
        [warning] = warnings()
        assert "read-only replica; give the address of its master; this pod is not" in warning


def test_a_missing_password_is_said_once(
    probes: Probes, start_redis: Start, warnings: Warnings
) -> None:
    """Whatever it is asked for, and however often."""
    server = start_redis("--requirepass", "secret")
    join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(warnings()), "it says so")
        time.sleep(3.5)  # longer than the period: nothing more may be said
        assert not draining(probes)
        [warning] = warnings()
        assert "wants other credentials" in warning


def test_without_leave_to_subscribe_the_switch_is_polled(
    probes: Probes, start_redis: Start, warnings: Warnings
) -> None:
    """An ACL that allows no channel makes it slower, and is named."""
    server = start_redis(
        *("--user", "anna", "on", ">hunter2", "~*", "+@all", "resetchannels"),
        *("--user", "default", "on", "nopass", "~*", "&*", "+@all"),
    )
    fleet = join(probes, f"redis://anna:hunter2@127.0.0.1:{server.port}")
    with serving(probes):
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed")
        Fleet(server.url, app="shop").drain()
        wait_until(lambda: draining(probes), "it drains", patience=4)
    [warning] = warnings()
    assert "a turn is seen within 3 s only" in warning
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR no\r\n", b"-LOADING\r\n", b""]
)
def test_whatever_answers_there_is_said_once(
    probes: Probes, warnings: Warnings, answer: bytes
) -> None:
    """A server that is no Redis, or is none yet, changes nothing."""
    with no_redis(answer) as port:
        join(probes, f"redis://:hunter2@127.0.0.1:{port}")
        with serving(probes):
            wait_until(lambda: bool(warnings()), "it says so")
            time.sleep(1.5)  # some more attempts: nothing more may be said
            assert not draining(probes)
    assert len(warnings()) == 1
    assert "hunter2" not in warnings()[0]


def test_redis_that_comes_back_is_noted(
    probes: Probes, start_redis: Start, caplog: pytest.LogCaptureFixture, warnings: Warnings
) -> None:
    """The log says that it is away, and that it does its work again; the last word stands."""
    server = start_redis()
    fleet = join(probes, server.url)
    with serving(probes):
        fleet.drain()
        wait_until(lambda: draining(probes), "it drains")
        server.crash()
        wait_until(lambda: bool(warnings()), "it says so")
        assert draining(probes)
        server.start()
        wait_until(lambda: not draining(probes), "it is open", patience=6)
        wait_until(lambda: "again" in caplog.text, "it says so")
    assert len(warnings()) == 1


def test_a_subscription_that_died_is_noticed(probes: Probes, start_redis: Start) -> None:
    """Where only the connection that listens has been cut, a new one is made."""
    server = start_redis()
    fleet = join(probes, server.url)
    with serving(probes):
        wait_until(lambda: bool(fleet.status().replicas), "the pod is listed")
        client_of(server).client_kill_filter(_type="pubsub")
        wait_until(lambda: fleet.drain().told == 1, "it listens again", patience=5)
        wait_until(lambda: draining(probes), "it drains", patience=1)


class TestFaults:
    def test_a_fault_of_its_own_is_logged_once(
        self, redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The watcher goes on, with a traceback in the log."""
        faults = [0]

        def describe() -> Pod:
            faults[0] += 1
            raise RuntimeError("a bug")

        source = Source(redis.url, timeout=0.3)
        caplog.set_level(logging.INFO, "probekit")
        watcher = Watcher(
            app="shop",
            connect=lambda: Store(source, keys_of("shop")),
            hear=lambda _: None,
            describe=describe,
        )
        watcher.stop()
        watcher.start()
        wait_until(lambda: watcher.running, "it runs")
        wait_until(lambda: faults[0] > 2, "it goes on")
        assert watcher.troubled
        watcher.stop(patience=5)
        wait_until(lambda: not watcher.running, "it runs no more")
        assert caplog.text.count("probekit failed to watch it; it goes on") == 1
        assert "RuntimeError: a bug" in caplog.text

    def test_a_redis_that_hangs_between_two_questions(
        self, redis: RedisServer, warnings: Warnings
    ) -> None:
        """The switch was read, the announcement is not answered: everything begins anew."""
        heard: list[object] = []

        def describe() -> Pod:
            if len(heard) == 1:
                redis.pause()
            return Pod(id="a/1/app", host="a", application="")

        source = Source(redis.url, timeout=0.3)
        watcher = Watcher(
            app="shop",
            connect=lambda: Store(source, keys_of("shop")),
            hear=heard.append,
            describe=describe,
        )
        try:
            watcher.start()
            wait_until(lambda: bool(warnings()), "it says so")
        finally:
            redis.resume()
        wait_until(lambda: len(heard) > 1, "it begins anew", patience=6)
        wait_until(lambda: not watcher.troubled, "all is well")
        watcher.stop(patience=5)
        [warning] = warnings()
        assert "does not answer in time" in warning

    def test_goodbye_needs_no_redis(self, probes: Probes, warnings: Warnings) -> None:
        """An application ends at once where the Redis is away."""
        join(probes, f"redis://127.0.0.1:{free_port()}")
        with serving(probes):
            wait_until(lambda: bool(warnings()), "it says so")
            began = time.monotonic()
        assert time.monotonic() - began < 2
