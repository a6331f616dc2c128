"""Redis servers of one's own, and applications in a fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes
from probekit.cli import main
from probekit.fleet import Fleet
from tests.checks._starting import redis_of, redises_of

from ._foreign import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.checks._servers import RedisServer


@pytest.fixture
def start_redis(tmp_path: Path) -> Generator[Callable[..., RedisServer]]:
    """Start a Redis of one's own with further arguments; it ends with the test."""
    with redises_of(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    """A Redis for the whole module; who pauses it lets it go on."""
    with redis_of(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(redis: RedisServer) -> Any:
    """A client of the test's own, and an empty Redis."""
    made = client_of(redis)
    made.flushall()
    return made


@pytest.fixture
def fleet(client: Any, redis: RedisServer) -> Fleet:
    """The operator's side of an empty Redis."""
    del client
    return Fleet(redis.url, app="shop")


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probes:
    """The probes of an application that stands alone."""
    monkeypatch.setenv("PROBEKIT_SCOPE", "pod")
    monkeypatch.setenv("PROBEKIT_RUNTIME_DIR", str(tmp_path))
    return Probes(drain_delay=0, observers=[])


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What returns the warnings so far."""
    caplog.set_level(logging.INFO, "probekit")
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[object, str, str]]:
    """Run the command in this process; return its exit code and what it printed."""
    for name in ("PROBEKIT_FLEET_REDIS", "PROBEKIT_FLEET_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")  # for argparse

    def run(*arguments: str) -> tuple[object, str, str]:
        code: object
        try:
            code = main(["fleet", *arguments])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return run
