"""A process whose server handles SIGTERM, and nothing of one test in the next."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from ._signals import StandIn, Twisted, clean_up

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def relay() -> Iterator[None]:
    """Leave no application, no handler of the library's and no drain under way to the next test."""
    yield
    clean_up()


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Put a handler for SIGTERM in place, as a server does, and take it away again."""
    before = signal.getsignal(signal.SIGTERM)
    server = StandIn()
    signal.signal(signal.SIGTERM, server.handle)
    yield server
    clean_up()  # while it is there to get what a drain may still send
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def hasty(server: StandIn) -> Iterator[Twisted]:
    """Put the handler of a server in place that waits for nothing."""
    twisted = Twisted()
    signal.signal(signal.SIGTERM, twisted.handle)
    yield twisted
    signal.signal(signal.SIGTERM, server.handle)


@pytest.fixture
def nobody_else() -> Iterator[None]:
    """Let SIGTERM be ignored rather than deadly, should a test lose its loop."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    clean_up()
    signal.signal(signal.SIGTERM, before)
