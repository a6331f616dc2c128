"""hypercorn's worker processes get no signal: they poll an event, and that comes after the drain.

In this process a stand-in for the worker has the real event; the real server is at the end.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypercorn.asyncio.run import asyncio_worker

from probekit._lifecycle.below import HypercornBelow
from probekit._lifecycle.hypercorn import shutdown_event
from tests.e2e.clients import get
from tests.e2e.servers import serve, session
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, end, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def semaphores() -> Iterator[None]:
    """Give events of multiprocessing back here, and not amid a test whose loop must not block."""
    yield
    gc.collect()


APP = Path(__file__).parent / "_app.py"


def elsewhere() -> None:
    """Be the target of a process of somebody else's."""


class Worker:
    """Stands for a worker of hypercorn's: polls the event, and has no handler for SIGTERM.

    Attributes:
        event: By which the master would tell it to leave.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.event: Any = spawn.Event()
        self.process: Any = spawn.Process(
            target=asyncio_worker, kwargs={"shutdown_event": self.event, "sockets": None}
        )
        monkeypatch.setattr("multiprocessing.process.current_process", lambda: self.process)

    def leaves(self) -> bool:
        """Return what the worker's poll says."""
        return bool(self.event.is_set())

    def left(self, patience: float = 2.0) -> float:
        """Poll as the worker does, and return when it would leave."""
        wait_until(self.leaves, "the worker leaves", patience=patience)
        return time.monotonic()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, nobody_else: None) -> Worker:
    """Make this process a worker."""
    del nobody_else
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Worker(monkeypatch)


def test_the_event_drains_first(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """The worker sees it after the delay; the log names the server."""
    caplog.set_level("INFO", "probekit")
    probes = started()
    assert probes.sigterm == "armed"
    assert "then hand it to hypercorn" in caplog.text
    assert not worker.leaves()
    assert state(probes) == [False]
    worker.event.set()
    began = time.monotonic()
    assert not worker.leaves()
    assert state(probes) == [True]
    assert worker.left() - began >= DELAY
    assert worker.leaves()
    end(probes)
    assert worker.leaves()


def test_the_signal_drains_first_too(worker: Worker) -> None:
    """An init system sends it to the whole group, and the worker need not be told twice."""
    probes = started()
    began = time.monotonic()
    sigterm()
    worker.event.set()
    assert state(probes) == [True]
    assert not worker.leaves()
    assert worker.left() - began >= DELAY
    end(probes)


def test_a_signal_without_the_event_ends_the_worker_all_the_same(worker: Worker) -> None:
    """It was meant for this one alone; it ends in order instead of dying."""
    probes = started()
    sigterm()
    worker.left()
    end(probes)


def test_a_second_signal_passes_at_once(worker: Worker) -> None:
    """Whoever insists is not kept waiting."""
    probes = started(30)
    worker.event.set()
    assert not worker.leaves()
    time.sleep(1.1)
    assert not worker.leaves()
    sigterm()
    assert worker.leaves()
    end(probes)


def test_the_masters_signal_to_a_worker_that_leaves_does_nothing(worker: Worker) -> None:
    """It sends one as soon as another worker has ended, and this one has requests to finish."""
    probes = started(0.05)
    worker.event.set()
    worker.left()
    for _ in range(3):
        sigterm()
    assert worker.leaves()
    end(probes)


def test_without_a_drain_the_event_is_the_workers_again(worker: Worker) -> None:
    """As soon as the application has ended."""
    probes = make_probes(drain_delay=30)
    for _ in range(2):
        probes.service.sigterm.arm()
        assert "is_set" in vars(worker.event)
        end(probes)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    worker.event.set()
    assert worker.leaves()
    assert state(probes) == [False]


@pytest.mark.parametrize("passes_on", [True, False], ids=["passes on", "keeps"])
def test_a_look_puts_the_drain_above_a_handler_that_came_later(
    passes_on: bool, worker: Worker
) -> None:
    """The event is wrapped twice then, and still seen once."""
    probes = started()
    ours: Any = signal.getsignal(signal.SIGTERM)
    heard: list[int] = []

    def above(number: int, frame: object) -> None:
        heard.append(number)
        if passes_on:
            ours(number, frame)

    signal.signal(signal.SIGTERM, above)
    probes.service.sigterm.check(time.monotonic())
    worker.event.set()
    assert not worker.leaves()
    assert state(probes) == [True]
    worker.left()
    end(probes)


def test_a_handler_that_came_later_and_passes_the_signal_on_leaves_the_event_to_the_drain(
    worker: Worker,
) -> None:
    """Nobody has looked; the signal that is sent again goes through it."""
    probes = started()
    ours: Any = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
    worker.event.set()
    worker.left()
    end(probes)


def test_a_handler_that_came_later_and_keeps_the_signal_does_not_keep_the_event(
    worker: Worker,
) -> None:
    """The master has told the worker to leave, which it would without the library."""
    probes = started()
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    worker.event.set()
    assert not worker.leaves()
    worker.left()
    end(probes)


# -- whether it is one --------------------------------------------------------------------------


def test_this_process_is_no_worker() -> None:
    """Nor is any that was not started by multiprocessing."""
    assert shutdown_event() is None


def test_a_process_without_multiprocessing_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not loaded for the question."""
    monkeypatch.delitem(sys.modules, "multiprocessing.process")
    assert shutdown_event() is None
    assert "multiprocessing.process" not in sys.modules


@pytest.mark.parametrize(
    "change",
    [
        lambda process: setattr(process, "_target", elsewhere),
        lambda process: setattr(process, "_target", None),
        lambda process: delattr(process, "_target"),
        lambda process: setattr(process, "_kwargs", {}),
        lambda process: setattr(process, "_kwargs", None),
        lambda process: delattr(process, "_kwargs"),
        lambda process: process._kwargs.update(shutdown_event=object()),
    ],
    ids=["target", "no target", "no _target", "arguments", "None", "no _kwargs", "event"],
)
def test_what_does_not_look_like_a_worker_is_none(
    change: Callable[[Any], object], worker: Worker
) -> None:
    """The attributes are private, and may be others some day."""
    assert shutdown_event() is worker.event
    change(worker.process)
    assert shutdown_event() is None


def test_it_is_found_where_nobody_has_a_handler(worker: Worker) -> None:
    """What is below is the event then, and not the default action."""
    from probekit._lifecycle.below import find_below

    below = find_below(lambda: True)
    assert isinstance(below, HypercornBelow)
    assert below.server.name == "hypercorn"
    assert not worker.leaves()


# -- the real one -------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["hypercorn-asyncio", "hypercorn-uvloop", "hypercorn-trio"])
def test_the_workers_of_a_real_hypercorn_drain(on: str, tmp_path: Path) -> None:
    """Unready at once, everything served for the delay, and no process left behind."""
    with serve(
        APP, on, "--workers", "2", NOTE=str(tmp_path / "note"), PROBEKIT_DRAIN_DELAY="1.0"
    ) as server:
        wait_until(lambda: answers(server.port), "it serves")
        assert get(server.port, "/admin/drain").json()["sigterm"] == "armed"
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(server.port, "/readyz").status == 503, "unready", patience=0.8)
        assert get(server.port, "/").body == b"hello"
        assert server.wait() == 0
        assert time.monotonic() - began >= 1.0
        wait_until(lambda: not session(server.pid), "no process is left")
        assert (tmp_path / "note").read_text() == "shut down"
        assert "SIGTERM: draining" in server.log()


def answers(port: int) -> bool:
    """Return whether the server serves already."""
    try:
        return get(port, "/readyz").status == 200
    except OSError:
        return False
