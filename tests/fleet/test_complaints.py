"""What the watcher's log says of a Redis that is away: each thing once, until all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probekit._fleet import watcher as module
from probekit._fleet.client import Source
from probekit._fleet.store import Store
from probekit._fleet.watcher import MOST, Watcher
from probekit._fleet.wire import Pod, keys_of
from probekit.exceptions import FleetError
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checks._servers import RedisServer

    Warnings = Callable[[], list[str]]


class Redises:
    """What a name leads to: one Redis, or one trouble after another.

    Attributes:
        troubles: How many different ones there are, in turn; 0: all is well.
        attempts: How often the watcher has connected.
    """

    def __init__(self, url: str, *, troubles: int) -> None:
        self._source = Source(url, timeout=0.3)
        self.troubles = troubles
        self.attempts = 0

    def connect(self) -> Store:
        """Return the store."""
        self.attempts += 1
        if self.troubles:
            raise FleetError(f"trouble {self.attempts % self.troubles}", answered=False)
        return Store(self._source, keys_of("shop"))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again and again without a pause to speak of."""
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.01)


def watcher_of(redises: Redises) -> Watcher:
    """Return a watcher, not yet started."""
    return Watcher(
        app="shop",
        connect=redises.connect,
        hear=lambda _: None,
        describe=lambda: Pod(id="a/1/app", host="a", application=""),
    )


def test_errors_that_alternate_are_each_said_once(redis: RedisServer, warnings: Warnings) -> None:
    """As behind a name with two addresses; they are said again after all was well."""
    redises = Redises(redis.url, troubles=2)
    watcher = watcher_of(redises)
    watcher.start()
    wait_until(lambda: redises.attempts > 10, "some attempts")
    watcher.stop(patience=5)
    said = ["trouble 0", "trouble 1"]
    assert sorted(text[12:21] for text in warnings()) == said
    redises.troubles = 0
    watcher.start()
    wait_until(lambda: not watcher.troubled, "all is well")
    watcher.stop(patience=5)
    assert len(warnings()) == 2
    redises.troubles = 2
    watcher.start()
    wait_until(lambda: len(warnings()) == 4, "it says both once more")
    watcher.stop(patience=5)
    assert sorted(text[12:21] for text in warnings()[2:]) == said


def test_errors_of_which_none_is_like_another(redis: RedisServer, warnings: Warnings) -> None:
    """A server that puts the time into its errors does not fill the log for ever."""
    redises = Redises(redis.url, troubles=1000)
    watcher = watcher_of(redises)
    watcher.start()
    wait_until(lambda: redises.attempts > MOST + 10, "some more attempts")
    watcher.stop(patience=5)
    assert len(warnings()) == MOST
