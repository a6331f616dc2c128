"""What the operator's side does with a real Redis, and with one that refuses."""

from __future__ import annotations

import itertools
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from redis import Connection, ConnectionPool, Redis
from redis.sentinel import Sentinel

from probekit._fleet.wire import Pod
from probekit.exceptions import FleetError
from probekit.fleet import Fleet
from tests.packaging._project import ROOT
from tests.waiting import free_port, wait_until

from ._foreign import SWITCH, client_of, no_redis, pod_line, switch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checks._servers import RedisServer

LONG = "hunter2" * 20
"""A password of which a server repeats the beginning only."""


class TestTheSwitch:
    def test_drain_and_undrain(self, fleet: Fleet, client: Any) -> None:
        """The switch is one key, without a time limit unless there is a lease."""
        turned = fleet.drain(reason="move", by="anna")
        assert turned.drain is not None
        assert turned.told == 0
        assert fleet.status().draining == turned.drain
        assert client.pttl(SWITCH) == -1
        assert fleet.undrain().drain == turned.drain
        assert fleet.undrain().drain is None
        assert client.keys("probekit:*") == []

    def test_a_lease_is_the_life_of_the_key(self, fleet: Fleet, client: Any) -> None:
        """Nobody needs to be there when it ends."""
        turned = fleet.drain(lease=0.2)
        assert turned.drain is not None
        assert turned.drain.until == pytest.approx(turned.drain.since + 0.2)
        assert 0 < client.pttl(SWITCH) <= 200
        drain = fleet.status().draining
        assert drain is not None
        assert drain.until == pytest.approx(turned.drain.until, abs=0.1)
        wait_until(lambda: fleet.status().draining is None, "the lease has ended")

    def test_a_drain_is_renewed(self, fleet: Fleet) -> None:
        """Another reason and lease, and the beginning stays."""
        began = fleet.drain(reason="a", lease=60).drain
        time.sleep(0.01)
        again = fleet.drain(reason="b").drain
        assert began is not None
        assert again is not None
        assert (again.since, again.reason, again.until) == (began.since, "b", None)

    @pytest.mark.parametrize(
        ("found", "complaint"),
        [
            ("1", "something that probekit has not written"),
            ("{", "something that probekit has not written"),
            ("[" * 100_000, "something that probekit has not written"),
            (b"\xff", "something that probekit has not written"),
            ('{"on": true}', "something that probekit has not written"),
            (switch(probekit="fleet-pod"), "something that probekit has not written"),
            (switch(version=2), "format 2 and not 1, of another probekit"),
            (switch(since="soon"), "a drain that makes no sense"),
            (switch(since=float("nan")), "a drain that makes no sense"),
            (switch(since=-1), "a drain that makes no sense"),
            (switch(since=None), "a drain that makes no sense"),
            (switch(reason=7), "a drain that makes no sense"),
            (switch(by="a\nb"), "a drain that makes no sense"),
            ('{"probekit": "fleet-switch", "version": 1}', "a drain that makes no sense"),
        ],
    )
    def test_another_applications_key_is_left_alone(
        self, fleet: Fleet, client: Any, found: str | bytes, complaint: str
    ) -> None:
        """What probekit of this version has not written is neither read nor overwritten."""
        client.set(SWITCH, found)
        length = client.strlen(SWITCH)
        for act in (fleet.drain, fleet.undrain, fleet.status):
            with pytest.raises(FleetError, match=f"{SWITCH} holds {complaint}.*left alone") as it:
                act()
            assert it.value.answered
        assert client.strlen(SWITCH) == length

    def test_a_key_of_another_kind_is_left_alone(self, fleet: Fleet, client: Any) -> None:
        """A list of that name is somebody else's."""
        client.rpush(SWITCH, "job")
        for act in (fleet.drain, fleet.undrain, fleet.status):
            with pytest.raises(FleetError, match="a value of another kind than probekit's"):
                act()
        assert client.lrange(SWITCH, 0, -1) == ["job"]

    def test_who_is_slower_looks_again(self, client: Any, redis: RedisServer) -> None:
        """A turn between the look and the write is not lost: `since` is then the other's."""
        fleet = Fleet(meddled(client, redis, times=1), app="shop")
        turned = fleet.drain(reason="mine")
        assert turned.drain is not None
        assert (turned.drain.since, turned.drain.reason) == (1.0, "mine")

    def test_endless_meddling_is_given_up(self, client: Any, redis: RedisServer) -> None:
        """Somebody who turns the switch all the time is named as the reason."""
        fleet = Fleet(meddled(client, redis, times=1000), app="shop")
        with pytest.raises(FleetError, match=r"others turn the switch .* again and again"):
            fleet.drain()


def meddled(client: Any, redis: RedisServer, *, times: int) -> Redis:
    """Return a client that somebody else is faster than, so many times."""
    left = [times]

    class Slow(Connection):
        def send_packed_command(self, command: Any, *args: Any, **kwargs: Any) -> None:
            if left[0] and b"MULTI" in b"".join(command):
                left[0] -= 1
                client.set(SWITCH, switch())
            super().send_packed_command(command, *args, **kwargs)  # type: ignore[no-untyped-call]  # it has no types

    return Redis(
        connection_pool=ConnectionPool(connection_class=Slow, host="127.0.0.1", port=redis.port)
    )


class TestRedisThatRefuses:
    def refused(self, url: str, match: str, *, answered: bool, timeout: float = 1.0) -> None:
        """Every act fails with these words, in time and without the password."""
        fleet = Fleet(url, app="shop", timeout=timeout)
        for act in (fleet.drain, fleet.undrain, fleet.status):
            began = time.monotonic()
            with pytest.raises(FleetError, match=match) as caught:
                act()
            assert time.monotonic() - began < 5
            assert caught.value.answered is answered
            assert "hunter2" not in str(caught.value)

    def test_nobody_there(self) -> None:
        """A connection that is refused."""
        match = "cannot be reached: .*refused$"  # more may follow
        self.refused(f"redis://:hunter2@127.0.0.1:{free_port()}", match, answered=False)

    def test_no_address(self) -> None:
        """A name that nobody knows."""
        self.refused("redis://nowhere.invalid", "cannot be reached: ", answered=False)

    def test_hung(self, redis: RedisServer) -> None:
        """One that takes connections and says nothing."""
        redis.pause()
        try:
            self.refused(redis.url, "does not answer in time", answered=False, timeout=0.2)
        finally:
            redis.resume()

    def test_a_password_is_missing_or_wrong(self, start_redis: Callable[..., RedisServer]) -> None:
        """The remedy names where the credentials belong."""
        server = start_redis("--requirepass", "secret")
        match = "wants other credentials .*redis://USER:PASSWORD@HOST"
        self.refused(server.url, match, answered=True)
        self.refused(f"redis://:hunter2@127.0.0.1:{server.port}", match, answered=True)
        assert Fleet(f"redis://:secret@127.0.0.1:{server.port}", app="shop").status().total == 0

    def test_no_such_database(self, redis: RedisServer) -> None:
        """The server says how many there are."""
        url = f"redis://127.0.0.1:{redis.port}/99"
        self.refused(url, "refuses: .*DB index is out of range|Invalid Database", answered=True)

    def test_no_permission(self, start_redis: Callable[..., RedisServer]) -> None:
        """An ACL that forbids the commands."""
        server = start_redis("--user", "anna", "on", ">hunter2", "~*", "&*", "+@connection")
        url = f"redis://anna:hunter2@127.0.0.1:{server.port}"
        self.refused(url, "refuses: .*no permissions", answered=True)

    def test_the_documented_rights_suffice(self, start_redis: Callable[..., RedisServer]) -> None:
        """Replicas and operators need no more than the reference says."""
        page = (ROOT / "docs" / "reference" / "fleet.md").read_text(encoding="utf-8")
        users = [line.split() for line in page.splitlines() if " on >... " in line]
        given = [["--user", *(word.replace("...", "hunter2") for word in user)] for user in users]
        server = start_redis(*itertools.chain.from_iterable(given))
        replica, operator = (
            Fleet(f"redis://{name}:hunter2@127.0.0.1:{server.port}", app="shop")
            for name, *_ in users
        )
        operator.drain(lease=60)
        with replica._connect() as store:
            subscription = store.subscription()
            assert store.switch() is not None
            store.announce(Pod(id="a/1/app", host="a", application=""))
            pod_line(client_of(server), "b/1/app", at=4000)
            store.forget()
            operator.undrain()
            subscription.check()
            wait_until(lambda: subscription.wait(0.1), "it hears of the turn")
        assert [each.host for each in operator.status().replicas] == ["a"]
        with pytest.raises(FleetError, match=r"refuses: .*no permissions"):
            replica.drain()

    @pytest.mark.parametrize(
        ("answer", "match"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak like Redis"),
            (b"-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data"),
        ],
    )
    def test_no_redis(self, answer: bytes, match: str) -> None:
        """Whatever else listens there."""
        with no_redis(answer) as port:
            self.refused(f"redis://127.0.0.1:{port}", match, answered=False)

    @pytest.mark.parametrize("credentials", [":hunter2", "anna:hunter2", "hunter2", ":" + LONG])
    @pytest.mark.parametrize("command", ["AUTH", "HELLO"])
    def test_a_server_that_repeats_the_password(self, credentials: str, command: str) -> None:
        """One that does not know a command shows its arguments; the traceback does not, either."""
        shown = credentials.rpartition(":")[2][:40]
        answer = f"-ERR unknown command '{command}', with args beginning with: 'a' '{shown}' \r\n"
        with no_redis(answer.encode()) as port:
            fleet = Fleet(f"redis://{credentials}@127.0.0.1:{port}", app="shop")
            with pytest.raises(FleetError, match="unknown command") as caught:
                fleet.status()
        told = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in told

    def test_a_replica_shows_and_turns_nothing(
        self, start_redis: Callable[..., RedisServer]
    ) -> None:
        """What it has can be read; whoever writes is sent to its master."""
        master = start_redis()
        replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
        Fleet(master.url, app="shop").drain(reason="move")
        fleet = Fleet(replica.url, app="shop")
        wait_until(lambda: fleet.status().draining is not None, "the replica has caught up")
        for act in (fleet.drain, fleet.undrain):
            with pytest.raises(FleetError, match=r"is a read-only replica; give .* its master"):
                act()

    def test_sentinel_is_asked(self, start_redis: Callable[..., RedisServer]) -> None:
        """A client that Sentinel made leads to the master."""
        master = start_redis()
        port = free_port()
        config = f"port {port}\nsentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
        start_redis("--sentinel", config=config, port=port)
        client: Any = Sentinel([("127.0.0.1", port)]).master_for("mymaster")  # type: ignore[no-untyped-call]  # it has no types
        fleet = Fleet(client, app="shop")
        assert fleet.address == "mymaster by Sentinel, database 0"
        fleet.drain()
        assert client_of(master).exists(SWITCH)
