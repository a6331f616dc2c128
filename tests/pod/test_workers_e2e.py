"""A drain of one worker is a drain of all, on every server with four of them."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import get
from tests.waiting import wait_until

from ._servers import SERVERS, Running
from ._workers import namespaces, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)

ALL_READY = {200: 200}
ALL_DRAIN = {503: 200}


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server with four workers."""
    kind: str = request.param
    with Running(kind, tmp_path_factory.mktemp(kind)) as server:
        yield server


@pytest.fixture(autouse=True)
def opened(request: pytest.FixtureRequest) -> None:
    """Begin each test with a server that is complete and takes work."""
    if "server" in request.fixturenames:
        server: Running = request.getfixturevalue("server")
        wait_until(lambda: server.undrain().json()["draining"] is None, "it is open")
        wait_until(server.complete, "all workers are there")
        server.settle(200, "all take work")


def late_answers(server: Running, done: Event) -> list[tuple[float, int]]:
    """Ask for readiness until ``done``: when each question was put, and the answer."""
    seen: list[tuple[float, int]] = []
    while not done.is_set():
        seen.append((time.monotonic(), get(server.port, "/readyz").status))
    return seen


def last_open(server: Running) -> float:
    """Drain it under load; return when the last question came, after the POST, that got 200."""
    done = Event()
    with ThreadPoolExecutor(3) as askers:
        asking = [askers.submit(late_answers, server, done) for _ in range(3)]
        time.sleep(0.1)  # the load is to be there before
        server.drain(b'{"reason": "deploy"}')
        drained = time.monotonic()
        time.sleep(0.3)
        done.set()
        seen = [answer for asker in asking for answer in asker.result(10)]
    assert {status for _, status in seen} == {200, 503}, "it was asked before and after"
    return max(0.0, *(at - drained for at, status in seen if status == 200))


def test_one_post_drains_all_within_50_ms(server: Running) -> None:
    """Whoever asks later than that over a fresh connection gets 503, whichever worker it meets.

    One good run of three proves that the mechanism takes no longer: what makes a run slow is the
    machine, if it has other work. None of the three may take longer than 250 ms.
    """
    taken: list[float] = []
    pids: set[str] = set()
    while not taken or (min(taken) >= 0.05 and len(taken) < 3):
        server.undrain()
        server.settle(200, "all take work")
        taken.append(last_open(server))
        answers = server.answers()
        assert [answer.status for answer in answers] == [503] * 200
        pids |= {answer.headers["x-pid"] for answer in answers}
    late = ", ".join(f"{seconds * 1000:.1f} ms" for seconds in taken)
    say(f"{server.kind}: the last 200 {late} after the POST, {len(pids)} workers")
    assert min(taken) < 0.05, late
    assert max(taken) < 0.25, late
    assert len(pids) >= 2


def test_whoever_is_asked_shows_all_workers(server: Running) -> None:
    """Four lines and their sums, from each of the four, in JSON and in text."""
    with ThreadPoolExecutor(6) as clients:
        slow = [clients.submit(get, server.port, "/slow") for _ in range(6)]
        seen = [server.shown()]
        while seen[-1]["in_flight"]["requests"] < 6 and not slow[0].done():
            seen.append(server.shown())
        assert all(request.result(10).status == 200 for request in slow)
    shown = seen[-1]
    workers = shown["workers"]
    assert shown["in_flight"]["requests"] == 6
    assert sum(worker["requests"] for worker in workers) == 6
    assert {entry["what"] for entry in shown["oldest"]} == {"GET /slow"}
    assert (shown["scope"], shown["scope_reason"]) == ("pod", None)
    wait_until(
        lambda: all(worker["ready"] for worker in server.shown()["workers"]), "all have asked"
    )
    expected = {worker["pid"] for worker in workers}
    assert len(expected) == 4
    for answer in [get(server.port, "/admin/drain") for _ in range(30)]:
        assert {worker["pid"] for worker in answer.json()["workers"]} == expected
        assert all(worker["ready"] and worker["age"] < 3 for worker in answer.json()["workers"])
    text = get(server.port, "/readyz?verbose").body.decode()
    assert {pid for pid in expected if f"worker {pid}: ready" in text} == expected


def test_a_delete_opens_all_whichever_worker_it_meets(server: Running) -> None:
    """Also if it comes right after the POST, to a worker that nobody has asked since."""
    for _ in range(10):
        server.drain()
        assert server.undrain().json()["draining"] is None
    took = server.settle(200, "all take work")
    assert server.codes() == ALL_READY
    assert took < 2


def test_a_lease_ends_on_all(server: Running) -> None:
    """It lasts 1.5 s for each of them, and none stays behind."""
    began = time.monotonic()
    server.drain(b'{"lease": 1.5}')
    server.settle(503, "all drain")
    assert time.monotonic() - began < 1.5, "too slow a machine for this test"
    server.settle(200, "the lease is over")
    assert 1.5 <= time.monotonic() - began < 3.5
    assert server.codes() == ALL_READY


def test_a_worker_that_is_started_anew_is_drained(server: Running) -> None:
    """It is killed in the drain, and the one in its place is born drained; hypercorn gives up."""
    server.drain()
    victim = min(server.pids())
    os.kill(victim, signal.SIGKILL)
    if server.kind == "hypercorn":
        wait_until(lambda: not server.running(), "hypercorn ends when a worker dies")
        server.end(signal.SIGKILL)
        server.start()
        assert server.codes() == ALL_READY
        return
    wait_until(
        lambda: victim not in (pids := server.pids()) and len(pids) == 4, "another one replaces it"
    )
    assert server.codes() == ALL_DRAIN


def test_workers_that_are_reloaded_are_drained(server: Running) -> None:
    """After SIGHUP all four are others, and all of them know."""
    server.drain()
    before = server.pids()
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(server.pids() - before) == 4, "all are others", patience=40)
    wait_until(server.complete, "the old ones have gone")
    assert server.codes() == ALL_DRAIN


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_server_that_is_started_anew_takes_work(server: Running, how: signal.Signals) -> None:
    """The drain was the old one's, and ended with it."""
    server.drain()
    server.end(how)
    server.start()
    assert server.codes() == ALL_READY


def test_two_servers_are_two(tmp_path: Path) -> None:
    """One that is drained says nothing to another in the same container."""
    with (
        Running("uvicorn", tmp_path, workers=2) as one,
        Running("granian", tmp_path, workers=1) as other,
    ):
        one.drain()
        one.settle(503, "it drains")
        assert (one.codes(50), other.codes(50)) == ({503: 50}, {200: 50})


def test_two_servers_are_one_if_they_are_told_so(tmp_path: Path) -> None:
    """``PROBEKIT_SCOPE=container`` is for several servers that come and go together."""
    with Running("uvicorn", tmp_path, workers=2, PROBEKIT_SCOPE="container") as one:
        other = Running("uvicorn", tmp_path, workers=2, PROBEKIT_SCOPE="container")
        other.expected = 4
        with other:
            one.drain()
            other.settle(503, "the other one drains too")
            assert (one.codes(50), other.codes(50)) == ({503: 50}, {503: 50})
            assert other.shown()["scope"] == "container"
            other.undrain()
            one.settle(200, "the other one is open too")
            assert (one.codes(50), other.codes(50)) == ({200: 50}, {200: 50})


def test_two_containers_never_meet(tmp_path: Path) -> None:
    """In process namespaces of their own they share a directory, and nothing in it."""
    alone = namespaces("pid")
    with Running("uvicorn", tmp_path, workers=2, before=alone) as one:
        with Running("uvicorn", tmp_path, workers=2, before=alone) as other:
            assert one.pids() & other.pids(), "both count from 1"
            one.drain()
            one.settle(503, "it drains")
            assert (one.codes(50), other.codes(50)) == ({503: 50}, {200: 50})
            assert other.shown()["draining"] is None
        one.end(signal.SIGKILL)
        one.start()
        assert one.codes(50) == {200: 50}
