"""A thread that stands still, and a watchdog for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ._standing import Kennel, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """What a log still has to say is said before the next test listens."""
    yield
    for thread in threading.enumerate():
        if thread.name == "probekit:last-words":
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def standing() -> Iterator[Standing]:
    """A thread that stands still."""
    with Standing() as thread:
        yield thread


@pytest.fixture
def kennel(tmp_path: Path, standing: Standing) -> Iterator[Callable[..., Kennel]]:
    """Make a watchdog of a loop that turns in that thread."""
    made: list[Kennel] = []

    def make(**options: Any) -> Kennel:
        made.append(Kennel(tmp_path, **options))
        made[-1].turn(standing)
        return made[-1]

    yield make
    for each in made:
        each.dog.stop()
