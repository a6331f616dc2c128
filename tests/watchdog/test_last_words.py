"""What is left behind: the termination log, the exit, and how often there may be one."""

from __future__ import annotations

import json
import logging
import multiprocessing.process
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from probekit import ConfigurationError, Probes
from probekit._lifecycle.pod import exits, files
from probekit._lifecycle.pod.exits import why_not_exit
from probekit._lifecycle.watchdog.last_words import LastWords, always, excerpt
from probekit.watchdog import Stall
from tests.pod._workers import pod_environment
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from probekit._lifecycle.pod.pod import Pod

    from ._standing import Kennel

    Making = Callable[..., Kennel]


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    """A directory that the workers share."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.delenv("PROBEKIT_SCOPE")
    for name, value in pod_environment(runtime).items():
        monkeypatch.setenv(name, value)
    pod = Probes(observers=[]).service.pod
    yield pod
    pod.leave()


# -- the termination log ----------------------------------------------------------------------


def test_the_platform_learns_why(kennel: Making) -> None:
    """The termination log holds the reason while it stands, and is empty when that is over."""
    watched = kennel()
    watched.termination_log.write_text("before")
    watched.pass_time(1.2)
    text = watched.termination_log.read_text()
    assert text.startswith(f"probekit: process {os.getpid()} is stuck: no sign of life at tests/")
    assert "_go_on.wait(20)" in text
    watched.heartbeat.beats += 1
    watched.pass_time(0.1)
    assert watched.termination_log.read_text() == ""


def test_what_another_has_written_there_stays(kennel: Making) -> None:
    """It is the application's as much as ours."""
    watched = kennel()
    watched.termination_log.touch()
    watched.pass_time(1.2)
    watched.termination_log.write_text("out of licences")
    watched.heartbeat.beats += 1
    watched.pass_time(0.1)
    assert watched.termination_log.read_text() == "out of licences"


def test_none_is_made_where_there_is_none(kennel: Making) -> None:
    """Only a container has one."""
    watched = kennel()
    watched.pass_time(1.2)
    assert watched.found() is not None
    assert not watched.termination_log.exists()


def test_a_long_stack_loses_its_beginning() -> None:
    """Two KiB hold the reason and the innermost calls, whole lines each."""
    stack = "\n".join(f"  app.py:{number} in recurse" for number in range(200))
    text = excerpt("probekit: stuck", stack)
    assert 1900 < len(text) <= 2048
    first, second, *_, last = text.decode().splitlines()
    assert (first, last) == ("probekit: stuck", "  app.py:199 in recurse")
    assert second.startswith("  app.py:")
    assert len(excerpt("x" * 5000, stack)) == 2048


# -- the exit ---------------------------------------------------------------------------------


def test_a_stuck_worker_ends_itself_so_often_and_no_more(
    kennel: Making, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    """With the status that no server takes for more; an hour later it may again."""
    watched = kennel(on_stuck="exit", exits_per_hour=2, pod=pod)
    for _ in range(3):
        watched.heartbeat.beats += 1
        watched.pass_time(1.2)
    assert watched.exits == [70, 70]
    assert "ends (status 70), for the server to start another" in caplog.text
    why = "workers of this server have ended themselves 2 times in an hour"
    assert caplog.text.count(f"on_stuck='exit': process {os.getpid()} stays, since {why}") == 1
    watched.pass_time(70)
    assert watched.exits == [70, 70]
    watched.clock.advance(3500)
    watched.pass_time(70)
    assert watched.exits == [70, 70, 70]
    assert caplog.text.count(" stays, since ") == 1


def test_nobody_ends_who_only_reports(kennel: Making, pod: Pod) -> None:
    """Which is the default."""
    watched = kennel(pod=pod)
    watched.pass_time(300)
    assert watched.found() is not None
    assert watched.exits == []


def test_nobody_ends_where_nothing_is_shared(
    kennel: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody could count; the log says so."""
    watched = kennel(on_stuck="exit")
    watched.pass_time(1.2)
    assert watched.exits == []
    assert "stays, since exits cannot be counted: PROBEKIT_SCOPE is process" in caplog.text


def test_who_can_end_starts_without_a_word(
    kennel: Making, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does who only reports have anything to say."""
    kennel(on_stuck="exit", pod=pod)
    kennel()
    assert caplog.messages == []


def test_where_nothing_is_shared_the_start_says_so(
    kennel: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong and what to do, before anybody is stuck."""
    kennel(on_stuck="exit")
    [text] = caplog.messages
    assert text.startswith(
        "on_stuck='exit' will end no process here: exits cannot be counted: PROBEKIT_SCOPE is "
        "process; let the workers share a directory (PROBEKIT_RUNTIME_DIR"
    )


def test_under_gevent_the_start_says_so(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody watches there, so nobody would say it later."""
    patched = SimpleNamespace(is_module_patched=lambda _name: True)
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched)
    assert pod.directory is not None
    assert not Probes(observers=[], on_stuck="exit").service.watchdog.begin()
    [text] = caplog.messages
    assert "on_stuck='exit' will end no process here: threads are gevent's greenlets" in text
    assert "gunicorn's --timeout" in text
    assert not Probes(observers=[]).service.watchdog.begin()
    assert len(caplog.messages) == 1


def test_whose_log_hangs_ends_all_the_same() -> None:
    """What the process is stuck in may be its log."""
    goes_on = threading.Event()
    ended: list[int] = []
    words = LastWords(termination_log=Path("/nowhere"), leave=ended.append, patience=0.2)
    with Hearing(lambda _: goes_on.wait(20)):
        began = time.monotonic()
        words.stuck(Stall(0.0, "blocked in a call"), 5.0, always)
        words.leave(always)
        assert time.monotonic() - began < 9
        assert ended == [70]
        goes_on.set()


def test_who_gets_no_thread_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that are never given back may be what the process is stuck for."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ended: list[int] = []
    words = LastWords(termination_log=Path("/nowhere"), leave=ended.append)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    words.stuck(Stall(0.0, "blocked in a call"), 5.0, always)
    words.leave(always)
    assert ended == [70]


class Hearing(logging.Handler):
    """A log that does something with each message.

    Attributes:
        heard: The messages, in their order.
        closed: Whether nobody may write to it any more.
    """

    def __init__(self, hear: Callable[[str], object]) -> None:
        super().__init__()
        self._hear = hear
        self.heard: list[str] = []
        self.closed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Do it."""
        self.heard.append(record.getMessage())
        self._hear(self.heard[-1])

    def close(self) -> None:
        """Note it."""
        self.closed = True
        super().close()

    def __enter__(self) -> Self:
        logging.getLogger("probekit").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("probekit").removeHandler(self)


@pytest.mark.parametrize("on_stuck", ["report", "exit"])
def test_a_log_that_hangs_does_not_lengthen_a_stall(
    on_stuck: str, kennel: Making, pod: Pod
) -> None:
    """It is over when the process moves; nor is a process ended, or counted, that does."""
    watched = kennel(on_stuck=on_stuck, pod=pod)
    watched.dog.last_words = LastWords(
        termination_log=watched.termination_log, leave=watched.exits.append, patience=15
    )

    def hang(message: str) -> None:
        if "has been stuck" in message:
            assert watched.found() is not None
            watched.heartbeat.beats += 1
            wait_until(lambda: watched.found() is None, "the stall is over", patience=10)

    with Hearing(hang) as log:
        began = time.monotonic()
        watched.pass_time(1.2)
        assert time.monotonic() - began < 9
    assert watched.found() is None
    stuck, over = log.heard
    assert "has been stuck for" in stuck
    assert "moves again, after 1." in over
    assert watched.exits == []
    assert not path_of(pod).exists()


def test_who_moves_after_the_last_look_at_the_log_stays(
    kennel: Making, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked again before the exit is counted."""
    watched = kennel(on_stuck="exit", pod=pod)

    class Slow(LastWords):
        def stuck(self, stall: Stall, seconds: float, still: Callable[[], bool]) -> None:
            super().stuck(stall, seconds, still)
            watched.clock.advance(0.9)
            watched.heartbeat.beats += 1

    watched.dog.last_words = Slow(
        termination_log=watched.termination_log, leave=watched.exits.append
    )
    watched.pass_time(1.1)
    assert (watched.found(), watched.exits) == (None, [])
    assert "moves again, after 2.0 s" in caplog.messages[-1]
    assert not path_of(pod).exists()


@pytest.mark.parametrize("said", [False, True])
def test_who_moves_between_the_count_and_the_end_stays(
    said: bool, kennel: Making, pod: Pod
) -> None:
    """Before or after it is said to end; the log says so, and is not closed. Later it may end."""
    watched = kennel(on_stuck="exit", pod=pod)
    counted: list[int] = []

    class Slow(LastWords):
        def leave(self, still: Callable[[], bool]) -> None:
            counted.append(len(json.loads(path_of(pod).read_text())["at"]))
            if not said and len(counted) == 1:
                watched.heartbeat.beats += 1
            super().leave(still)

    watched.dog.last_words = Slow(
        termination_log=watched.termination_log, leave=watched.exits.append
    )

    def hear(message: str) -> None:
        if " ends (status 70)" in message and len(counted) == 1:
            watched.heartbeat.beats += 1

    with Hearing(hear) as log:
        watched.pass_time(1.1)
        assert (watched.found(), watched.exits, log.closed) == (None, [], False)
        assert len(log.heard) == (4 if said else 3)
        assert "moves again, after" in log.heard[-2]
        assert log.heard[-1].endswith(" stays, since it moves again")
        watched.pass_time(1.1)
        assert (watched.exits, log.closed) == ([70], True)
    assert counted == [1, 2]


def test_who_moves_when_it_asks_again_stays(kennel: Making, pod: Pod) -> None:
    """Also a minute after it had to stay."""
    watched = kennel(on_stuck="exit", exits_per_hour=1, pod=pod)
    assert why_not_exit(pod, clock=watched.clock.monotonic, per_hour=1) is None
    watched.pass_time(1.1)
    assert watched.found() is not None
    watched.clock.advance(3600)

    def hear(message: str) -> None:
        if " ends (status 70)" in message:
            watched.heartbeat.beats += 1

    with Hearing(hear) as log:
        watched.dog.tick()
    assert " ends (status 70)" in log.heard[0]
    assert (watched.found(), watched.exits) == (None, [])


def test_threads_that_move_while_it_is_said_do_not_end(kennel: Making, pod: Pod) -> None:
    """Under WSGI a request that is finished is the sign."""
    watched = kennel(on_stuck="exit", pod=pod)
    watched.traffic.threaded, watched.traffic.threads = True, 1
    watched.traffic.requests["one"] = {"method": "GET", "path": "/orders"}, 0.0
    watched.dog.tick()

    def hear(message: str) -> None:
        if "has been stuck" in message:
            watched.traffic.requests.clear()

    with Hearing(hear):
        watched.pass_time(1.2)
    assert (watched.found(), watched.exits) == (None, [])


def test_who_is_stopped_while_it_speaks_does_not_end(kennel: Making, pod: Pod) -> None:
    """The loop has let go meanwhile: the application ends in order."""
    watched = kennel(on_stuck="exit", pod=pod)

    class Slow(LastWords):
        def stuck(self, stall: Stall, seconds: float, still: Callable[[], bool]) -> None:
            super().stuck(stall, seconds, still)
            watched.dog.stop()

    watched.dog.last_words = Slow(
        termination_log=watched.termination_log, leave=watched.exits.append
    )
    watched.pass_time(1.2)
    assert watched.exits == []


def test_two_that_are_stuck_together_are_both_counted(kennel: Making, pod: Pod) -> None:
    """While one still speaks another has counted: that one lies ahead of its look, and counts."""
    watched = kennel(on_stuck="exit", exits_per_hour=1, pod=pod)
    others: list[str | None] = []

    class Slow(LastWords):
        def stuck(self, stall: Stall, seconds: float, still: Callable[[], bool]) -> None:
            super().stuck(stall, seconds, still)
            watched.clock.advance(0.1)
            others.append(why_not_exit(pod, clock=watched.clock.monotonic, per_hour=1))

    watched.dog.last_words = Slow(
        termination_log=watched.termination_log, leave=watched.exits.append
    )
    watched.pass_time(1.2)
    assert others == [None]
    assert watched.exits == []


def test_the_moment_of_an_exit_is_read_when_it_is_its_turn(pod: Pod) -> None:
    """Who waits for another to count comes after it."""

    def clock() -> float:
        assert pod.directory is not None
        assert files.is_locked(pod.directory, f"{pod.name}.exits")
        return 5000.0

    assert why_not_exit(pod, clock=clock, per_hour=1) is None


def path_of(pod: Pod) -> Path:
    """Return the file of the exits."""
    assert pod.directory is not None
    assert pod.path is not None
    return Path(pod.path) / f"{pod.name}.exits.json"


def test_exits_are_counted_for_an_hour(pod: Pod) -> None:
    """In a file that people can read; one that lies ahead was another machine's."""
    name = path_of(pod)
    assert why_not_exit(pod, clock=lambda: 5000.0, per_hour=1) is None
    assert json.loads(name.read_text()) == {"version": 1, "at": [5000.0]}
    assert "1 times in an hour" in str(why_not_exit(pod, clock=lambda: 8599.0, per_hour=1))
    assert why_not_exit(pod, clock=lambda: 8601.0, per_hour=1) is None
    assert why_not_exit(pod, clock=lambda: 100.0, per_hour=1) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"version": 1, "at": 5}', "exits.json makes no sense"),
        ('{"version": 2, "at": []}', "is of version 2, not 1"),
        ("oops", "holds no JSON"),
    ],
)
def test_a_spoilt_file_ends_nobody(content: str, complaint: str, pod: Pod) -> None:
    """Who cannot count stays."""
    name = path_of(pod)
    name.write_text(content)
    why = why_not_exit(pod, clock=lambda: 5000.0, per_hour=1)
    assert f"exits cannot be counted in {pod.path}: " in str(why)
    assert complaint in str(why)


def test_two_count_one_after_the_other(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain for his turn stays."""
    assert pod.directory is not None
    monkeypatch.setattr(exits, "PATIENCE", 0.05)
    turn = files.lock(pod.directory, f"{pod.name}.exits")
    assert turn is not None
    try:
        why = why_not_exit(pod, clock=lambda: 5000.0, per_hour=1)
        assert why == "exits cannot be counted: another worker has been counting for too long"
    finally:
        os.close(turn)
    assert why_not_exit(pod, clock=lambda: 5000.0, per_hour=1) is None


# -- hypercorn --------------------------------------------------------------------------------


def be_worker_of_hypercorn(monkeypatch: pytest.MonkeyPatch, config: object) -> None:
    """Let this process look as if hypercorn had started it."""

    def target() -> None:
        """Serve."""

    target.__module__ = "hypercorn.asyncio.run"
    process = multiprocessing.process.current_process()
    monkeypatch.setattr(process, "_target", target, raising=False)
    monkeypatch.setattr(process, "_kwargs", {"config": config}, raising=False)


@pytest.mark.parametrize("config", [SimpleNamespace(workers=1), None, SimpleNamespace(workers="?")])
def test_one_worker_of_hypercorn_may_end_itself(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nobody along."""
    be_worker_of_hypercorn(monkeypatch, config)
    Probes(observers=[], on_stuck="exit").service.starting()


def test_one_of_several_workers_of_hypercorn_must_not(
    kennel: Making, pod: Pod, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused at the start; where no lifespan tells of it, warned of, and when it has come."""
    be_worker_of_hypercorn(monkeypatch, SimpleNamespace(workers=2))
    probes = Probes(observers=[], on_stuck="exit")
    with pytest.raises(ConfigurationError, match="hypercorn ends all its 2 workers when one"):
        probes.service.starting()
    watched = kennel(on_stuck="exit", pod=pod)
    assert "on_stuck='exit' will end no process here: hypercorn ends all its 2" in caplog.text
    watched.pass_time(1.2)
    assert watched.exits == []
    assert f"process {os.getpid()} stays, since hypercorn ends all its 2 workers" in caplog.text
    Probes(observers=[]).service.starting()
