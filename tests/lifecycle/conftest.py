"""A process whose server handles SIGTERM."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from ._signals import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Put a handler for SIGTERM in place, as a server does, and take it away again."""
    before = signal.getsignal(signal.SIGTERM)
    server = StandIn()
    signal.signal(signal.SIGTERM, server.handle)
    yield server
    signal.signal(signal.SIGTERM, before)
