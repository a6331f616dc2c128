"""A level in fake time, on every kind of loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.fake_time import FakeClock

from ._fetches import make_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit.checks.worker import Level


@pytest.fixture
def clock() -> FakeClock:
    """The time of the level, and of the event loop that `anyio_backend` runs a test on."""
    return FakeClock()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest, clock: FakeClock) -> object:
    """Run an async test on each kind of loop, in fake time."""
    return clock.backend(request.param)


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., Level]:
    """Return a function that makes a `Level` in the test's time."""
    return partial(make_level, clock)
