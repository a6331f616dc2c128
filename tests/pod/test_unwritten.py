"""A drain for which the disk had no room, and what others have said since."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ._twins import seen_by, twins
from ._workers import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Probes

    Making = Callable[..., Probes]


@contextmanager
def no_room() -> Iterator[None]:
    """Let this process write no file of any length: an empty one is all that it can make.

    As on a disk that is full, but for one of the twins alone.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def drained_alone(probes: Probes, reason: str) -> None:
    """Have it drain without a word to the others."""
    with no_room():
        probes.drain(reason=reason)
    assert probes.service.pod.scope == "process"
    assert probes.draining is not None
    assert probes.draining.reason == reason


def test_it_is_shared_as_soon_as_there_is_room(shared: Making) -> None:
    """Nobody has said anything since, and nothing but the drain is left in the directory."""
    one, other = twins(shared)
    drained_alone(one, "deploy")
    with no_room():
        assert [seen_by(one), seen_by(other)] == ["deploy", None]
    assert [seen_by(one), seen_by(other)] == ["deploy"] * 2
    assert one.service.pod.scope == "pod"
    assert [name.partition(".")[2] for name in names_in(str(one.service.pod.path))] == [
        "drain.json"
    ]


@pytest.mark.parametrize("tried", [0, 3], ids=["at once", "after it has tried again"])
def test_a_newer_drain_wins(shared: Making, tried: int) -> None:
    """The one that got no further than its own worker is not written over it."""
    one, other = twins(shared)
    one.drain(reason="first")
    drained_alone(one, "second")
    with no_room():
        assert [seen_by(one) for _ in range(tried)] == ["second"] * tried
    other.drain(reason="third")
    for _ in range(2):
        assert [seen_by(one), seen_by(other)] == ["third"] * 2
    assert (one.service.pod.scope, one.service.pod.obstacle) == ("pod", None)


@pytest.mark.parametrize("tried", [0, 3], ids=["at once", "after it has tried again"])
def test_the_end_through_another_worker_is_the_end(shared: Making, tried: int) -> None:
    """That one knew of the drain before, which the other has renewed."""
    one, other = twins(shared)
    one.drain(reason="first")
    drained_alone(one, "second")
    with no_room():
        assert [seen_by(one) for _ in range(tried)] == ["second"] * tried
    other.undrain()
    for _ in range(2):
        assert [seen_by(one), seen_by(other)] == [None, None]
    assert (one.service.pod.scope, one.service.pod.obstacle) == ("pod", None)


def test_the_end_through_a_worker_that_never_heard_of_it_is_the_end(shared: Making) -> None:
    """The operator's DELETE meets whichever, and finds no file that it could remove."""
    one, other = twins(shared)
    drained_alone(one, "deploy")
    assert seen_by(other) is None
    other.undrain()
    for _ in range(2):
        assert [seen_by(one), seen_by(other)] == [None, None]
    assert names_in(str(one.service.pod.path)) == []


def test_a_drain_that_came_and_went_between_two_looks_was_newer(shared: Making) -> None:
    """The directory is as it was before."""
    one, other = twins(shared)
    drained_alone(one, "deploy")
    other.drain(reason="other")
    other.undrain()
    assert [seen_by(one), seen_by(other)] == [None, None]


def test_of_two_that_could_not_be_written_one_comes_through(shared: Making) -> None:
    """The one that finds room first; and the end of it is the end of both."""
    one, other = twins(shared)
    drained_alone(one, "one")
    drained_alone(other, "other")
    assert [seen_by(one), seen_by(other), seen_by(one)] == ["one"] * 3
    other.undrain()
    assert [seen_by(one), seen_by(other)] == [None, None]


def test_it_outlasts_a_directory_that_somebody_removes(shared: Making) -> None:
    """What is gone with all the rest was ended by nobody."""
    one, other = twins(shared)
    one.drain(reason="first")
    drained_alone(one, "second")
    path = Path(str(one.service.pod.path))
    for name in names_in(path):
        (path / name).unlink()
    path.rmdir()
    for _ in range(2):
        assert seen_by(one) == "second"
    assert seen_by(other) == "second"


def test_an_end_where_nothing_can_be_removed_is_no_failure(
    shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """There was nothing to end in this worker, and the log says why another may go on."""
    one, other = twins(shared)
    drained_alone(one, "deploy")
    pod = other.service.pod
    assert pod.scope == "pod"
    assert pod.path is not None
    [mark] = Path(pod.path).iterdir()
    mark.unlink()
    mark.mkdir()
    caplog.clear()
    other.undrain()
    assert [record.getMessage() for record in caplog.records] == [
        f"shared state: cannot write in {pod.path}: {os.strerror(errno.EISDIR)}"
    ]
