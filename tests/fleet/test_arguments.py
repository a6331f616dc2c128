"""What `Fleet` takes, and what it refuses before it connects to anything."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis, RedisCluster
from redis import asyncio as aio

from probekit import Probes
from probekit.exceptions import ConfigurationError
from probekit.fleet import Fleet

from ._foreign import FALLEN_APART, parts_in

SECRET = "hunter2"
NUL = "\0"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "must begin with one of redis://, rediss://, unix://; write redis://USER:PASS"),
        ("localhost:6379", "must begin with"),
        (f"http://anna:{SECRET}@localhost", "must begin with"),
        ("redis:localhost", "must begin with"),
        (f"redis://:{SECRET}@localhost:99999", "names a port that is no number from 1 to 65535"),
        (f"redis://:{SECRET}@localhost:six", "names a port that is no number"),
        ("redis://[::1", r"makes no sense: a \[ or \] belongs to an IPv6 address"),
        ("redis://localhost:0", "names port 0, which nobody listens on"),
        (f"redis://:{SECRET}@localhost/shop", "that is not the number of a database; write redis"),
        ("redis://localhost/0?socket_timeout=soon", "an option .* take: socket_timeout; correct"),
        ("redis://localhost/0?max_connections=-1", "an option .* take: max_connections; correct"),
        ("rediss://localhost/0?ssl_cert_reqs=7", "an option .* take: one of those after the"),
        ("redis://localhost/0?colour=red", "an option that redis-py does not take: .*colour"),
        ("redis://localhost/0?protocol=9", "an option that redis-py does not take: protocol"),
    ],
)
def test_a_wrong_url_is_refused(url: str, complaint: str) -> None:
    """The error says what to write instead, and never shows the password."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Fleet(url, app="shop")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", FALLEN_APART)
def test_a_part_of_a_password_is_not_shown(url: str) -> None:
    """Neither in the error, which names the characters to encode, nor in what led to it."""
    with pytest.raises(ConfigurationError, match=r"as %2F %3F %23 %40 ") as caught:
        Fleet(url, app="shop")
    assert parts_in(str(caught.value)) == []
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["a/b", "a?b=c", "a#b", "a@b", "a[b]", "100%25"])
def test_an_encoded_password_is_taken(text: str) -> None:
    """As the error says it is to be written."""
    fleet = Fleet(f"redis://:{quote(text, safe='')}@redis.example/1", app="shop")
    assert fleet.address == "redis.example:6379/1"
    assert fleet._source.connect().connection_pool.connection_kwargs["password"] == text


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", "localhost:6379/0"),
        (f"rediss://anna:{SECRET}@redis.example:6380/3", "redis.example:6380/3"),
        ("redis://", "localhost:6379/0"),
        ("redis://[::1]:6379/", "::1:6379/0"),
        (f"unix://:{SECRET}@/run/redis.sock?db=2", "/run/redis.sock, database 2"),
    ],
)
def test_the_address_is_shown_without_the_password(url: str, address: str) -> None:
    """Logs and messages say where the Redis is, and nothing more."""
    fleet = Fleet(url, app="shop")
    assert fleet.address == address
    assert repr(fleet) == f"<Fleet 'shop' at {address}>"
    assert SECRET not in str(vars(fleet))


@pytest.mark.parametrize(
    "app", ["", "a b", "shop:de", "\u00fcber", "-x", "a" * 65, "{shop}", "a\n", f"a{NUL}", None, 7]
)
def test_a_strange_name_is_refused(app: str) -> None:
    """A name that could be mistaken in a key, a channel or a shell is refused."""
    with pytest.raises(ConfigurationError, match="fleet: app must be 1 to 64 letters"):
        Fleet("redis://localhost", app=app)


@pytest.mark.parametrize("url", FALLEN_APART)
def test_a_url_in_the_place_of_the_name_is_not_shown(url: str) -> None:
    """Whoever exchanges the two gives a password for a name."""
    with pytest.raises(ConfigurationError, match="got 'an address, which is not shown'") as caught:
        Fleet("shop", app=url)
    assert parts_in(str(caught.value)) == []


@pytest.mark.parametrize("app", ["a", "7", "shop", "Shop-2.de_CH", "a" * 64])
def test_a_plain_name_is_taken(app: str) -> None:
    """Letters, digits, dots, hyphens and underscores."""
    assert Fleet("redis://localhost", app=app).app == app


@pytest.mark.parametrize("timeout", [0, -1, True, "1"])
def test_a_wrong_timeout_is_refused(timeout: float) -> None:
    """Nothing waits for ever."""
    with pytest.raises(ConfigurationError, match="fleet: timeout must be > 0 seconds, got"):
        Fleet("redis://localhost", app="shop", timeout=timeout)
    with pytest.raises(ConfigurationError, match="fleet: timeout must be at most 1e9 seconds"):
        Fleet("redis://localhost", app="shop", timeout=float("inf"))


def test_a_wrong_version_is_refused() -> None:
    """It stands in a table."""
    with pytest.raises(ConfigurationError, match=r"^fleet: version must be one line"):
        Fleet("redis://localhost", app="shop", version="1\n2")
    number: Any = 3
    with pytest.raises(ConfigurationError, match=r"^fleet: version must be a string, got 3$"):
        Fleet("redis://localhost", app="shop", version=number)


@pytest.mark.parametrize(
    "client",
    [
        aio.Redis(password=SECRET),
        Redis().pipeline(),
        RedisCluster.__new__(RedisCluster),
        b"redis://localhost",
        None,
    ],
    ids=["asyncio", "pipeline", "cluster", "bytes", "None"],
)
def test_another_client_is_refused(client: Redis) -> None:
    """Its type is named, and its value is not."""
    with pytest.raises(
        ConfigurationError, match=r"must be a URL .* or a redis\.Redis, got"
    ) as caught:
        Fleet(client, app="shop")
    assert SECRET not in str(caught.value)


def test_of_a_client_the_address_is_taken() -> None:
    """Its timeouts and retries are not, so that the watcher waits for nothing for long."""
    client = Redis(host="redis.example", port=6380, db=2, password=SECRET, decode_responses=True)
    fleet = Fleet(client, app="shop", timeout=0.3)
    assert fleet.address == "redis.example:6380/2"
    made = fleet._source.connect().connection_pool
    assert made is not client.connection_pool
    options = made.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.3, 0.3)
    assert options["password"] == SECRET
    assert not options.get("decode_responses")


def test_probes_join_once() -> None:
    """Two fleets for the same probes would contradict each other."""
    probes = Probes(name="orders")
    fleet = Fleet("redis://localhost", app="shop")
    assert fleet.join(probes) is fleet
    with pytest.raises(ConfigurationError, match=re.escape("'orders' has joined the fleet 'shop'")):
        Fleet("redis://localhost", app="other").join(probes)


def test_other_companions_are_welcome() -> None:
    """Whatever else goes along with the service is no fleet."""

    class Other:
        def keep(self) -> None: ...
        def leave(self) -> None: ...

    probes = Probes()
    probes.service.companions.append(Other())
    Fleet("redis://localhost", app="shop").join(probes)
    assert len(probes.service.companions) == 2


def test_a_drain_that_makes_no_sense_is_refused() -> None:
    """Nothing is sent to Redis."""
    fleet = Fleet("redis://localhost:1", app="shop")
    with pytest.raises(ConfigurationError, match="reason must be one line"):
        fleet.drain(reason="a\nb")
    with pytest.raises(ConfigurationError, match="by must be one line"):
        fleet.drain(by="x" * 201)
    with pytest.raises(ConfigurationError, match="lease must be > 0 seconds"):
        fleet.drain(lease=0)
