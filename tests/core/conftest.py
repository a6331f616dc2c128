"""What the tests of checks and their engine share: fake time on every loop, and an observer."""

from __future__ import annotations

import pytest

from probekit import Probes
from tests.core.helpers import Recorder
from tests.fake_time import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """The time of the test, of its event loop and of its probes."""
    return FakeClock()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of event loop in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def anyio_backend(loop_kind: str, clock: FakeClock) -> object:
    """Run an async test on each kind of loop, in fake time."""
    return clock.backend(loop_kind)


@pytest.fixture
def recorder() -> Recorder:
    """An observer that remembers what it was told."""
    return Recorder()


@pytest.fixture
def probes(clock: FakeClock, recorder: Recorder) -> Probes:
    """Probes in fake time, observed by the recorder alone."""
    return Probes(clock=clock, observers=[recorder], drain_delay=0)
