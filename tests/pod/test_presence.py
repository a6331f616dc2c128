"""Each worker's own line: it is there as long as the worker, and no longer."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit.asgi import probe_app
from tests.waiting import wait_until
from tests.web._asking import ask

from ._twins import twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

    from ._workers import Worker

    Making = Callable[..., Probes]
    Starting = Callable[..., Worker]


def keepers() -> list[threading.Thread]:
    """Return the threads that look after a shared state."""
    return [thread for thread in threading.enumerate() if thread.name == "probekit:pod"]


@pytest.fixture(autouse=True)
def _no_keeper() -> None:
    """Begin without the keeper of another test."""
    for thread in keepers():
        thread._args[1].set()  # type: ignore[attr-defined]  # its event; nothing else ends it
        thread.join(5)


def test_each_worker_sees_the_lines_of_all(worker: Starting) -> None:
    """The oldest first; who leaves is gone at once, and who is killed as soon as anybody looks."""
    workers = [worker() for _ in range(4)]
    for each in workers:
        each.ask("announce")
    pids = workers[0].ask("pids")
    assert {*pids} == {each.pid for each in workers}
    for each in workers:
        assert each.ask("pids") == pids
    workers.sort(key=lambda each: pids.index(each.pid))
    workers[1].ask("leave")
    assert workers[0].ask("pids") == [pids[0], *pids[2:]]
    workers[2].kill()
    assert workers[3].ask("pids") == [pids[0], pids[3]]
    left = sorted(workers[0].ask("files"))
    assert left == sorted(f"app.{pid}.{kind}" for pid in (pids[0], pids[3]) for kind in KINDS)
    assert workers[1].ask("announce") == [pids[0], pids[1], pids[3]]


KINDS = ("lock", "worker")


def test_a_stopped_worker_still_has_its_line(worker: Starting) -> None:
    """It hangs, and is not gone: its age shows it."""
    one, two = worker(), worker()
    two.ask("announce")

    def age() -> float:
        shown = one.ask("ask", "GET", "/admin/drain")[1]["workers"]
        ages: dict[int, float] = {line["pid"]: line["age"] for line in shown}
        assert {*ages} == {one.pid, two.pid}
        return ages[two.pid]

    os.kill(two.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: age() >= 0.3, "its age grows")
    finally:
        os.kill(two.pid, signal.SIGCONT)


def test_a_worker_that_has_said_nothing_yet_is_not_shown(worker: Starting) -> None:
    """It holds its lock already, and its line follows."""
    one, two = worker(), worker()
    two.ask("announce")
    (Path(one.ask("path")[0]) / f"app.{two.pid}.worker").unlink()
    assert one.ask("announce") == [one.pid]
    assert one.ask("ask", "GET", "/admin/drain")[0] == 200


def is_shown(worker: Worker) -> bool:
    """Announce it, and return whether it has a line."""
    return worker.pid in worker.ask("announce")


def test_many_workers_come_and_go_at_once(worker: Starting) -> None:
    """Nobody is forgotten, nobody stays, and no descriptor does."""
    workers = [worker() for _ in range(3)]
    before = [each.ask("announce") and each.ask("descriptors") for each in workers]
    for _ in range(40):
        for each in workers:
            each.send("leave")
        for each in workers:
            each.receive()
            each.send("announce")
        for each in workers:
            each.receive()
        for each in workers:  # a lock that somebody looks at is not to be had at that moment
            said = partial(is_shown, each)
            wait_until(said, "its line", patience=2)
        assert {*workers[0].ask("pids")} == {each.pid for each in workers}
    assert [each.ask("descriptors") for each in workers] == before
    assert [each.log() for each in workers] == [""] * 3


def test_a_worker_whose_lock_somebody_removed_is_seen_again(worker: Starting) -> None:
    """Whoever looks between its making and its locking takes it for a dead one's."""
    one, two = worker(), worker()
    two.ask("announce")
    (Path(one.ask("path")[0]) / f"app.{two.pid}.lock").unlink()
    two.ask("announce")
    assert two.pid in one.ask("pids")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/" + "x" * 100_000, "GET /" + "x" * 99 + "..."),
        ("/\n[+]database ok\x1b[2J", "GET /?[+]database ok?[2J"),
        ("/\udcff\u202e", "GET /??"),
        ("/grüße", "GET /grüße"),
    ],
    ids=["long", "two lines", "no characters", "words"],
)
def test_no_path_that_a_client_asks_for_hides_a_worker(
    path: str, shown: str, shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """Its line is of a length that others read, and holds what may be shown."""
    one, other = twins(shared)
    traffic = one.service.traffic
    traffic.requests[one.__str__] = {"method": "GET", "path": path}, traffic.clock()
    one.service.pod.announce(one.service._line())
    (line,) = other.service.pod.workers()
    assert [what for what, _ in line.oldest] == [shown]
    assert caplog.records == []


# -- forks ------------------------------------------------------------------------------------


def test_a_forked_child_takes_nothing_from_its_parent(worker: Starting) -> None:
    """It opens what it needs itself, and the parent's line stays when it ends."""
    one, two = worker(), worker()
    one.ask("announce")
    assert one.ask("forked_has_nothing")
    assert two.ask("pids") == [one.pid]
    assert one.ask("announce") == [one.pid]
    assert one.log() == ""


def test_a_worker_that_is_killed_is_gone_whatever_it_has_forked(worker: Starting) -> None:
    """A pool's process that outlives it must not keep its line."""
    one, two = worker(), worker()
    one.ask("announce")
    child = one.ask("fork")
    try:
        one.kill()
        # The child may not have come to close what it was born with.
        wait_until(lambda: two.ask("announce") == [two.pid], "its line is gone")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_is_forked_while_a_thread_looks_can_look_too(worker: Starting) -> None:
    """The keeper may be anywhere at that moment."""
    one = worker()
    one.ask("path")
    assert one.ask("fork_while_a_thread_looks") == "looked"


def test_between_two_lines_there_is_a_sign_of_life(shared: Making) -> None:
    """A worker is missed sooner than it says how it is; one that has no line yet gives none."""
    one, other = twins(shared)
    service = one.service
    service._beat()
    assert other.service.pod.workers() == []
    line = service._line()
    service.pod.announce(line)
    service._beat()
    [found] = other.service.pod.workers()
    assert found.at > line.at
    service.pod.leave()


# -- the keeper -------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_keeper_lives_as_long_as_the_application(shared: Making) -> None:
    """It writes the line, hears of other workers' drains without being asked, and ends."""
    one, other = twins(shared)
    async with one.lifespan():
        thread = keepers()[0]
        wait_until_there(one, expected=True)
        other.drain(reason="deploy")
        deadline = time.monotonic() + 3
        while one.draining is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # noqa: ASYNC251 - the loop has nothing else to do
        time.sleep(0.1)  # noqa: ASYNC251 - the keeper is to be asleep now
    thread.join(2)
    assert not thread.is_alive()
    wait_until_there(other, expected=False)


def wait_until_there(probes: Probes, *, expected: bool) -> None:
    """Return when the process has a line, or has none."""
    wait_until(lambda: bool(probes.service.pod.workers()) == expected, "the line")


@pytest.mark.anyio
async def test_an_application_that_ends_in_the_middle_of_a_look_leaves_no_line(
    shared: Making,
) -> None:
    """The keeper's last look may still be under way."""
    left_behind = 0
    for _ in range(30):
        probes = shared()
        async with probes.lifespan():
            thread = keepers()[-1]
        thread.join(5)
        left_behind += probes.service.pod._directory is not None
    assert left_behind == 0


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_probes_that_nobody_has_any_more_has_no_keeper(shared: Making) -> None:
    """An application without a lifespan is never told to end, as in a suite of tests."""
    before = len(keepers())
    for _ in range(5):
        await ask(probe_app(shared()), "/readyz")
    deadline = time.monotonic() + 2
    while len(keepers()) > before and time.monotonic() < deadline:
        gc.collect()  # its parts know each other
        time.sleep(0.05)  # noqa: ASYNC251 - the loop has nothing else to do
    assert len(keepers()) == before


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_one_that_begins_again_has_one_keeper(shared: Making) -> None:
    """A second lifespan after the first, and a probe besides it, start no second thread."""
    probes = shared()
    app = probe_app(probes)
    before = len(keepers())
    for _ in range(2):
        async with probes.lifespan():
            await ask(app, "/readyz")
            assert len(keepers()) == before + 1
        deadline = time.monotonic() + 3
        while len(keepers()) > before:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # noqa: ASYNC251 - the loop has nothing else to do
