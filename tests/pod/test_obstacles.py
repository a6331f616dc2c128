"""A directory that can no longer be used: each thing is said once, and no request fails."""

from __future__ import annotations

import logging
import os
import resource
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._core.model import Drain
from probekit._lifecycle.pod.files import is_locked
from probekit._lifecycle.pod.keeper import Keeper
from probekit._lifecycle.pod.pod import Pod, Shared
from probekit.asgi import probe_app
from tests.waiting import wait_until
from tests.web._asking import ask

from ._twins import seen_by, twins
from ._workers import NOBODY, descriptors, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Probes

    Making = Callable[..., Probes]

DRAIN = Shared(Drain(since=1.0, reason="deploy"), 1e9)


@pytest.fixture
def pod(shared: Making) -> Iterator[Pod]:
    """The shared state of one worker, which has looked at it."""
    pod = shared().service.pod
    assert pod.scope == "pod"
    yield pod
    pod.leave()


@contextmanager
def forbidden(pod: Pod) -> Iterator[None]:
    """Take the right to the directory away, from root too."""
    assert pod.path is not None
    root = os.geteuid() == 0
    path = Path(pod.path)
    path.chmod(0)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o700)


def test_what_may_not_be_touched_any_more_is_said_once(
    pod: Pod, shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """The switch works for the one worker, and nothing raises."""
    line = shared().service._line()
    pod.announce(line)
    with forbidden(pod):
        for _ in range(3):
            assert not pod.changed("drain")
            assert pod.read("drain", DRAIN) is DRAIN
            assert not pod.write("drain", DRAIN)
            assert not pod.write("drain", None)
            pod.announce(line)
            assert pod.workers() == []
            assert not pod.has_started(set())
        pod.start(set())
        assert pod.has_started(set())
    said = [record.getMessage().partition("cannot ")[2] for record in caplog.records]
    assert sorted(said) == [
        f"look at {pod.path}: Permission denied",
        f"read in {pod.path}: Permission denied",
        f"write in {pod.path}: Permission denied",
        f"write in {pod.path}: Permission denied; this worker alone knows of the drain",
    ]
    assert len(pod.workers()) == 1


def test_a_word_that_could_not_be_shared_is_told_until_all_of_them_are(pod: Pod) -> None:
    """The server's and the fleet's each have a file."""
    with forbidden(pod):
        for record in ("drain", "fleet"):
            assert not pod.write(record, DRAIN)
    reasons = []
    for record in ("drain", "fleet"):
        reasons.append((pod.scope, pod.obstacle))
        assert not pod.changed(record), "its own word is no news"
    assert reasons == [("process", f"cannot write in {pod.path}: Permission denied")] * 2
    assert (pod.scope, pod.obstacle) == ("pod", None)
    assert {name.rpartition(".")[2] for name in names_in(str(pod.path))} == {"json"}
    assert [pod.read(record, None) for record in ("drain", "fleet")] == [DRAIN] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_request_fails_where_the_directory_may_not_be_touched(shared: Making) -> None:
    """Readiness, the switch and the list of workers answer for this worker."""
    probes = shared()
    app = probe_app(probes)
    assert (await ask(app, "/readyz")).status == 200
    with forbidden(probes.service.pod):
        assert (await ask(app, "/admin/drain", "POST")).status == 202
        assert (await ask(app, "/readyz", query=b"verbose")).status == 503
        assert (await ask(app, "/startupz")).status == 200
        shown = (await ask(app, "/admin/drain")).json()
        assert [worker["pid"] for worker in shown["workers"]] == [os.getpid()]
        assert (await ask(app, "/admin/drain", "DELETE")).status == 200
        assert (await ask(app, "/readyz")).status == 200


def test_a_process_without_descriptors_removes_nobody(shared: Making) -> None:
    """It cannot look whether the others live, so it leaves them alone."""
    one, other = twins(shared)
    pod = one.service.pod
    pod.announce(one.service._line()._replace(pid=1))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert other.service.pod.scope == "pod"
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        assert other.service.pod.workers() == []
        assert not other.service.pod.write("drain", DRAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [worker.pid for worker in other.service.pod.workers()] == [1]


def test_a_file_that_is_a_directory_leaves_what_was_true_before(
    shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """It can neither be read nor replaced."""
    one, other = twins(shared)
    one.drain(reason="deploy")
    assert seen_by(other) == "deploy"
    pod = one.service.pod
    file = Path(str(pod.path)) / f"{pod._prefix}.drain.json"
    file.unlink()
    file.mkdir()
    assert (seen_by(one), seen_by(other)) == ("deploy", "deploy")
    other.undrain()
    assert seen_by(other) is None
    assert all("Is a directory" in record.getMessage() for record in caplog.records)


def test_a_process_alone_shares_nothing() -> None:
    """There is nothing to be read or told, and nobody else."""
    pod = Pod(name="alone", environment={"PROBEKIT_SCOPE": "process"})
    assert (pod.changed("drain"), pod.read("drain", DRAIN)) == (False, DRAIN)
    assert (pod.write("drain", DRAIN), pod.workers()) == (False, [])
    pod.overrule("drain")
    pod.leave()


def test_who_leaves_twice_leaves_once(shared: Making) -> None:
    """And who comes again has a line again."""
    service = shared().service
    before = len(descriptors())
    for _ in range(2):
        service.pod.announce(service._line())
        assert len(service.pod.workers()) == 1
        service.pod.leave()
        service.pod.leave()
        assert len(descriptors()) == before


def test_who_may_not_remove_its_line_leaves_all_the_same(
    shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """An application must not fail in its shutdown for that; the kernel frees the lock."""
    service = shared().service
    before = len(descriptors())
    service.pod.announce(service._line())
    with forbidden(service.pod):
        path = service.pod.path
        service.pod.leave()
    assert len(descriptors()) == before
    assert [record.getMessage() for record in caplog.records] == [
        f"shared state: cannot write in {path}: Permission denied"
    ]
    directory = service.pod.directory
    assert directory is not None
    assert not is_locked(directory, f"{service.pod.name}.{os.getpid()}.lock")


def test_two_threads_that_find_the_directory_gone_make_it_anew_once(shared: Making) -> None:
    """The second works with what the first has made, or without any, and fails in neither case."""
    pod = shared().service.pod
    for make_anew in (True, False):
        directory = pod.directory
        assert directory is not None
        assert pod.path is not None
        path = Path(pod.path)
        path.rmdir()
        if not make_anew:
            path.parent.rmdir()
            path.parent.parent.rmdir()
        assert pod._vanished(directory)
        assert pod._vanished(directory) == (pod.directory != directory)
        assert pod.scope == ("pod" if make_anew else "process")


def test_a_forked_child_closes_what_its_parent_has_open(
    shared: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And opens its own; only its process id tells it that it is one."""
    monkeypatch.setenv("PROBEKIT_SCOPE", "container")  # whose key is not the process's own
    service = shared().service
    service.pod.announce(service._line())
    before = len(descriptors())
    assert service.pod._presence is not None
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    service.pod.leave()
    assert service.pod.scope == "container"
    assert [service.pod._presence] == [None]
    assert len(descriptors()) == before - 1


def test_a_directory_that_is_gone_after_the_end_of_a_drain_is_made_anew_empty(
    shared: Making,
) -> None:
    """Nothing is written but what is true."""
    probes = shared()
    pod = probes.service.pod
    probes.drain()
    probes.undrain()
    probes.drain(reason="again")
    probes.undrain()
    assert pod.path is not None
    Path(pod.path).rmdir()
    for _ in range(2):
        pod.announce(probes.service._line())
    assert sorted(name.rpartition(".")[2] for name in names_in(pod.path)) == ["lock", "worker"]


def test_a_keeper_goes_on_after_a_failure_and_says_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until it has succeeded again."""
    turns: list[int] = []
    again = threading.Event()

    class Task:
        def turn(self) -> None:
            turns.append(len(turns))
            if len(turns) in {1, 2, 4}:
                raise RuntimeError(f"turn {len(turns)}")
            if len(turns) == 5:
                again.set()

    task = Task()
    keeper = Keeper(task.turn, trouble="this one failed")
    with caplog.at_level(logging.ERROR):
        keeper.start()
        keeper.start()
        assert again.wait(10)
        keeper.stop()
        keeper.stop()
        keeper.wait(5)
    # A keeper that another test has left behind may complain, too.
    mine = [record for record in caplog.records if record.getMessage() == "this one failed"]
    told = [str(record.exc_info[1]) for record in mine if record.exc_info]
    assert told == ["turn 1", "turn 4"]
    seen = len(turns)
    keeper.start()
    wait_until(lambda: len(turns) > seen, "it begins again")
    keeper.stop()


def test_a_keeper_does_something_cheap_between_two_turns() -> None:
    """As long as there is somebody to do it for."""
    done: list[str] = []

    class Task:
        def turn(self) -> None:
            done.append("turn")

        def beat(self) -> None:
            done.append("beat")

    task, other = Task(), Task()
    keeper = Keeper(task.turn, between=task.beat, period=0.02)
    keeper.start()
    wait_until(lambda: len(done) >= 6, "it does both")
    keeper.stop()
    keeper.wait(5)
    assert done[:6] == ["turn", "beat"] * 3

    keeper = Keeper(task.turn, between=other.beat, period=0.02)
    del other
    done.clear()
    keeper.start()
    wait_until(lambda: len(done) >= 3, "it goes on without")
    keeper.stop()
    keeper.wait(5)
    assert "beat" not in done


def test_a_keeper_comes_as_soon_as_it_was_told_to() -> None:
    """In the place of its own pace, which would be too slow here to see it twice."""
    done = threading.Semaphore(0)

    class Task:
        def turn(self) -> float:
            done.release()
            return 0.001

    task = Task()
    keeper = Keeper(task.turn, period=3600)
    keeper.start()
    assert all(done.acquire(timeout=10) for _ in range(3))
    keeper.stop()
    keeper.wait(5)


def test_a_keeper_that_has_not_begun_can_be_waited_for() -> None:
    """At once."""
    Keeper(threading.Event().set).wait(5)


def test_a_keeper_ends_with_what_it_looks_after() -> None:
    """Nobody told it to; and it can be told afterwards."""
    done = threading.Event()
    keeper = Keeper(done.set)
    keeper.start()
    assert done.wait(10)
    thread = keeper._thread
    assert thread is not None
    del done
    thread.join(5)
    assert not thread.is_alive()
    keeper.stop()
