"""When a process is stuck, and when it is not: in fake time, look by look."""

from __future__ import annotations

import gc
import linecache
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from probekit import ConfigurationError, Probes
from probekit._core.loops import current_loop
from probekit._lifecycle.watchdog.cause import Effort
from tests.waiting import wait_until

from ._standing import Kennel, Standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probekit.watchdog import Stall

    Making = Callable[..., Kennel]

SCOPE = {"method": "GET", "path": "/orders"}
STARVED = "starved of CPU: it wants one and gets next to none, so it does not count as stuck"


def test_a_loop_without_a_sign_is_stuck_after_the_threshold(kennel: Making) -> None:
    """Not before, and it is known since when, where and by whom."""
    watched = kennel()
    began = watched.clock.monotonic()
    watched.pass_time(0.9)
    assert watched.found() is None
    watched.pass_time(0.2)
    stall = watched.found()
    assert stall is not None
    assert stall.since == began
    assert stall.where.startswith("tests/watchdog/_standing.py:")
    assert stall.where.endswith(" in stand_still")
    assert f"  {stall.where}: self._go_on.wait(20)\n" in stall.stack
    assert (stall.task, stall.check) == ("", "")


def test_the_last_look_comes_when_the_time_is_up(kennel: Making) -> None:
    """Not up to a whole look later, which beside a thread that computes takes longer still."""
    watched = kennel()
    pauses: list[float] = []
    watched.pass_time(0.8)
    for passed in (0.1, 0.06, 0.035, 0.02, 0.1):
        watched.clock.advance(passed)
        pauses.append(watched.dog.tick())
    assert pauses == pytest.approx([0.1, 0.04, 0.02, 0.1, 0.1])
    assert watched.found() is not None


def test_probers_hear_of_it_before_its_stack_is_read(
    kennel: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a thread that computes, to read the sources of a deep stack takes a while."""
    watched = kennel()
    known: list[str] = []

    def read(_file: str, _line: int) -> str:
        stall = watched.found()
        known.append("" if stall is None else stall.where)
        return "the source"

    monkeypatch.setattr(linecache, "getline", read)
    watched.pass_time(1.2)
    stall = watched.found()
    assert stall is not None
    assert set(known) == {stall.where}
    assert f"  {stall.where}: the source\n" in stall.stack


def test_a_beat_is_a_sign(kennel: Making) -> None:
    """One in every second is enough for a threshold of one."""
    watched = kennel()
    for _ in range(4):
        watched.pass_time(0.9)
        watched.heartbeat.beats += 1
        watched.pass_time(0.1)
    assert watched.found() is None


def test_a_new_request_is_a_sign(kennel: Making) -> None:
    """A loop that takes one runs."""
    watched = kennel()
    for _ in range(4):
        watched.pass_time(0.9)
        watched.traffic.latest = watched.clock.monotonic()
        watched.pass_time(0.1)
    assert watched.found() is None


@pytest.mark.parametrize("kind", ["requests", "websockets", "jobs"])
def test_whatever_is_finished_is_a_sign(kind: str, kennel: Making) -> None:
    """A burst of requests keeps the loop from its beat, and ends one of them after the other."""
    watched = kennel()
    entries: dict[object, Any] = getattr(watched.traffic, kind)
    keys = [object() for _ in range(40)]
    for key in keys:
        entries[key] = SCOPE, 0.0
    watched.pass_time(4, each=lambda: entries.pop(keys.pop()))
    assert watched.found() is None
    entries[object()] = SCOPE, 0.0  # what has begun without an end is none
    watched.pass_time(1.1)
    assert watched.found() is not None


class Tasks:
    """Stands for a loop that runs one task after the other."""

    def __init__(self) -> None:
        self.task: Any = None

    def is_running(self) -> bool:
        """Return whether it turns."""
        return True

    def running_task(self) -> Any:
        """Return the one under way."""
        return self.task


class Named:
    """A task."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_another_task_is_a_sign(kennel: Making) -> None:
    """Also after a moment without any; the same one for a second is none, and is named."""
    watched = kennel()
    loop: Any = Tasks()
    watched.heartbeat.loop = loop
    tasks = [Named("a"), None, Named("b")] * 10

    def next_task() -> None:
        loop.task = tasks.pop()

    watched.pass_time(3, each=next_task)
    assert watched.found() is None
    watched.pass_time(1.1)
    stall = watched.found()
    assert stall is not None
    assert stall.task == "a"


def test_no_task_is_kept_alive(kennel: Making) -> None:
    """Nobody is to hold what the application has let go of."""
    watched = kennel()
    loop: Any = Tasks()
    watched.heartbeat.loop = loop
    loop.task = Named("a")
    gone = weakref.ref(loop.task)
    watched.pass_time(0.3)
    loop.task = None
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_has_ended_is_not_stuck(backend: str, kennel: Making) -> None:
    """Without a lifespan nobody stops its heartbeat: a script's loop, or a test client's."""
    watched = kennel()

    async def main() -> None:
        watched.heartbeat.start(current_loop())
        watched.pass_time(0.9)

    anyio.run(main, backend=backend)
    assert watched.heartbeat.thread is not None
    watched.pass_time(60)
    assert watched.found() is None


def test_a_look_that_comes_late_blames_nobody(kennel: Making) -> None:
    """When the watchdog itself did not run, for the GIL or for SIGSTOP, nor could the loop."""
    watched = kennel()
    for _ in range(20):
        watched.clock.advance(30)
        watched.dog.tick()
        watched.clock.advance(0.05)
        watched.dog.tick()
        watched.heartbeat.beats += 1
    assert watched.found() is None


def test_a_stall_is_over_with_the_first_sign(
    kennel: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells once that it began, with the stack, and once that it is over."""
    watched = kennel()
    watched.pass_time(7)
    stall = watched.found()
    assert stall is not None
    watched.heartbeat.beats += 1
    watched.pass_time(0.1)
    assert watched.found() is None
    stuck, over = caplog.records
    assert (stuck.levelno, over.levelno) == (logging.ERROR, logging.WARNING)
    assert stuck.getMessage().startswith(f"process {os.getpid()} has been stuck for 1.")
    assert stuck.getMessage().endswith(f" s: {stall}\n{stall.stack}")
    assert over.getMessage() == f"process {os.getpid()} moves again, after 7.1 s: {stall}"
    watched.pass_time(1.1)
    assert len(caplog.records) == 3


def test_without_a_loop_there_is_nothing_to_watch(kennel: Making) -> None:
    """Nor is a loop that has stopped stuck."""
    watched = kennel()
    watched.pass_time(1.1)
    assert watched.found() is not None
    watched.heartbeat.stop()
    watched.pass_time(3)
    assert watched.found() is None


def test_a_loop_that_stops_while_it_is_looked_at_is_described_without_it(kennel: Making) -> None:
    """Its thread is gone, so there is nothing to say of where."""
    watched = kennel()
    watched.heartbeat.thread = 1
    watched.heartbeat.native = None
    watched.pass_time(1.2)
    assert str(watched.found()) == "no sign of life"


def test_who_has_been_stopped_does_not_look(kennel: Making) -> None:
    """A look that comes just then does nothing."""
    watched = kennel()
    watched.dog.stop()
    watched.pass_time(3)
    assert watched.found() is None


def test_a_forked_child_watches_nobody(kennel: Making) -> None:
    """Its parent's stall is none of its own; until it begins to serve itself."""
    watched = kennel()
    watched.pass_time(1.1)
    watched.dog.renew()
    watched.pass_time(3)
    assert watched.found() is None
    assert watched.dog.begin()
    watched.pass_time(1.2)
    assert watched.found() is not None


def test_to_begin_twice_is_to_begin_anew(kennel: Making) -> None:
    """Some servers send requests before they tell that the application starts."""
    watched = kennel()
    watched.pass_time(0.9)
    assert watched.dog.begin()
    watched.pass_time(0.9)
    assert watched.found() is None


# -- the cause --------------------------------------------------------------------------------


class Described:
    """What the operating system says of a thread."""

    def __init__(self, tasks: Path, native: int) -> None:
        self._stat = tasks / str(native) / "stat"
        self._stat.parent.mkdir(parents=True)
        self.ticks = 0.0
        self.state = "S"

    def write(self) -> None:
        """Say it."""
        fields = [self.state, *["0"] * 10, str(int(self.ticks)), "7", *["0"] * 10]
        self._stat.write_text(f"1 (a) b (c) {' '.join(fields)}\n")

    def use(self, share: float, state: str) -> Callable[[], None]:
        """Use that share of a CPU from now on."""

        def go_on() -> None:
            self.state = state
            self.ticks += share * 0.1 * os.sysconf("SC_CLK_TCK")
            self.write()

        return go_on


@pytest.mark.parametrize(
    ("share", "state", "cause"),
    [
        (1.0, "R", "computing"),
        (0.5, "S", "computing"),
        (0.0, "S", "blocked in a call"),
        (0.1, "D", "blocked in a call"),
    ],
)
def test_the_cause_is_read_from_the_operating_system(
    share: float, state: str, cause: str, kennel: Making, standing: Standing, tmp_path: Path
) -> None:
    """What the thread has used of a CPU tells computing from waiting."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    thread = Described(tmp_path, standing.native)
    watched.pass_time(1.2, each=thread.use(share, state))
    stall = watched.found()
    assert stall is not None
    assert stall.cause == cause


@pytest.mark.parametrize("content", ["", "1 (a) S", "1 (a) S" + " ?" * 20])
def test_what_is_not_as_linux_writes_it_is_not_known(
    content: str, kennel: Making, standing: Standing, tmp_path: Path
) -> None:
    """A sandbox may have a /proc of its own; a stall is found all the same."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    Described(tmp_path, standing.native)
    (tmp_path / str(standing.native) / "stat").write_text(content)
    watched.pass_time(1.2)
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "no sign of life"


def test_starved_is_not_stuck(
    kennel: Making, standing: Standing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gets no CPU is not to blame; who gets little is, when he has used enough of it."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    thread = Described(tmp_path, standing.native)
    watched.pass_time(30, each=thread.use(0.0, "R"))
    assert watched.found() is None
    assert caplog.text.count(STARVED) == 1
    watched.pass_time(3, each=thread.use(0.2, "R"))
    assert watched.found() is None
    assert watched.dog.tick() == 0.1  # it is judged over half a second, however little is left
    watched.pass_time(3, each=thread.use(0.2, "R"))
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "computing"


def test_each_starvation_is_told_once(
    kennel: Making, standing: Standing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as it has lasted as long as a stall would; the termination log has none of it."""
    watched = kennel()
    watched.termination_log.touch()
    watched.dog.effort = Effort(tmp_path)
    thread = Described(tmp_path, standing.native)
    watched.pass_time(0.8, each=thread.use(0.0, "R"))
    assert (watched.dog.loop_starved, caplog.messages) == (True, [])
    for _ in range(2):
        watched.pass_time(5, each=thread.use(0.0, "R"))
        assert watched.dog.loop_starved
        watched.heartbeat.beats += 1
        watched.pass_time(0.1)
        assert not watched.dog.loop_starved
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert caplog.text.count(STARVED) == 2
    assert caplog.messages[0].startswith(f"process {os.getpid()} has stood still for 1.")
    assert watched.termination_log.read_bytes() == b""
    watched.pass_time(0.3, each=thread.use(0.0, "R"))
    watched.dog.stop()
    assert watched.dog.begin()
    assert not watched.dog.loop_starved


def test_who_sleeps_a_little_again_and_again_is_not_starved(
    kennel: Making, standing: Standing, tmp_path: Path
) -> None:
    """It may be awake whenever somebody looks; who waits for a CPU as long as it is awake is."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    thread = Described(tmp_path, standing.native)
    schedule = tmp_path / str(standing.native) / "schedstat"
    waited = turns = 0

    def look(seconds: float) -> Callable[[], None]:
        def go_on() -> None:
            nonlocal waited, turns
            waited, turns = waited + int(seconds * 1e9), turns + 2
            schedule.write_text(f"{turns * 1000} {waited} {turns}\n")
            thread.use(0.0, "R")()

        return go_on

    watched.pass_time(5, each=look(0.09))
    assert watched.found() is None
    watched.pass_time(1.5, each=look(0.001))
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "blocked in a call"


def test_who_shares_a_cpu_is_not_starved(
    kennel: Making, standing: Standing, tmp_path: Path
) -> None:
    """It has its turn in slices: between some looks more than enough, between others nothing."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    thread = Described(tmp_path, standing.native)
    for _ in range(6):
        watched.pass_time(0.1, each=thread.use(1.0, "R"))
        watched.pass_time(0.1, each=thread.use(0.0, "R"))
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "computing"


def test_of_this_process_the_operating_system_tells(kennel: Making) -> None:
    """As it is: a thread that waits for a lock is blocked."""
    watched = kennel()
    watched.dog.effort = Effort()

    def found() -> bool:
        watched.pass_time(0.1)
        return watched.found() is not None

    wait_until(found, "the thread has come to its lock, and is found there")
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "blocked in a call"


# -- WSGI -------------------------------------------------------------------------------------


def threaded(watched: Kennel, *threads: int) -> list[object]:
    """Serve WSGI with so many threads, all busy since the same moment; return the requests."""
    traffic = watched.traffic
    traffic.threaded, traffic.threads = True, len(threads)
    keys: list[object] = [object() for _ in threads]
    for key, thread in zip(keys, threads, strict=True):
        traffic.requests[key] = SCOPE | {"thread": thread}, 0.0
    watched.dog.tick()
    return keys


def test_threads_that_are_all_busy_with_the_same_requests_are_stuck(
    kennel: Making, standing: Standing
) -> None:
    """All their stacks are shown; until then they are saturated."""
    watched = kennel()
    with Standing() as other:
        threaded(watched, standing.ident, other.ident)
        watched.pass_time(0.9, each=lambda: setattr(watched.heartbeat, "beats", 0))
        assert (watched.found(), watched.dog.saturated) == (None, True)
        watched.pass_time(0.2)
    stall = watched.found()
    assert stall is not None
    assert stall.cause == "all 2 threads are busy with the same requests"
    assert stall.where.endswith(" in stand_still")
    assert stall.stack.count("thread 'standing', GET /orders:\n") == 2
    assert stall.stack.count(" in stand_still: ") == 1  # they are at the same line
    assert not watched.dog.saturated


@pytest.mark.parametrize(
    ("share", "state", "cause"), [(0.5, "R", "computing"), (0.0, "S", "blocked in a call")]
)
def test_what_threads_do_is_told_too(
    share: float, state: str, cause: str, kennel: Making, standing: Standing, tmp_path: Path
) -> None:
    """Taken together: one that computes is enough."""
    watched = kennel()
    watched.dog.effort = Effort(tmp_path)
    with Standing() as other:
        Described(tmp_path, other.native).write()
        thread = Described(tmp_path, standing.native)
        threaded(watched, standing.ident, other.ident)
        watched.pass_time(1.2, each=thread.use(share, state))
    stall = watched.found()
    assert stall is not None
    assert stall.cause == f"all 2 threads are busy with the same requests, {cause}"
    assert not watched.dog.loop_starved


def test_threads_that_finish_or_begin_something_are_not_stuck(
    kennel: Making, standing: Standing
) -> None:
    """However long they are all busy."""
    watched = kennel()
    [key] = threaded(watched, standing.ident)
    requests = watched.traffic.requests
    for _ in range(3):
        watched.pass_time(0.8)
        requests[object()] = requests.pop(key)
        watched.pass_time(0.2)
        [key] = requests
        watched.pass_time(0.8)
        watched.traffic.latest = watched.clock.monotonic()
        watched.pass_time(0.2)
    assert watched.found() is None


def test_threads_that_send_something_are_not_stuck(kennel: Making, standing: Standing) -> None:
    """A stream or a download may take all day; once its bytes stop, it is as any other."""
    watched = kennel()
    threaded(watched, standing.ident)
    for _ in range(4):
        watched.pass_time(0.9)
        watched.traffic.parts += 1
        watched.pass_time(0.1)
    assert (watched.found(), watched.dog.saturated) == (None, True)
    watched.pass_time(1.1)
    assert watched.found() is not None


@pytest.mark.parametrize("threads", [None, 2])
def test_threads_are_not_stuck_while_one_may_be_free(
    threads: int | None, kennel: Making, standing: Standing
) -> None:
    """One is; or nobody knows how many there are."""
    watched = kennel()
    threaded(watched, standing.ident)
    watched.traffic.threads = threads
    watched.pass_time(5)
    assert (watched.found(), watched.dog.saturated) == (None, False)


def test_threads_that_nobody_has_noted_are_stuck_all_the_same(kennel: Making) -> None:
    """Without a stack, then."""
    watched = kennel()
    [key] = threaded(watched, 1)
    watched.traffic.requests[key] = SCOPE, 0.0
    watched.pass_time(1.2)
    assert str(watched.found()) == "the only thread is busy with the same request"


# -- living -----------------------------------------------------------------------------------


def watchdogs() -> set[threading.Thread]:
    """Return the watchdogs of this process; other tests may have left some behind."""
    return {thread for thread in threading.enumerate() if thread.name == "probekit:watchdog"}


@pytest.mark.anyio
async def test_a_real_loop_that_is_blocked_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """With the name of the task; `Probes.stall` and the worker's line say so, from any thread."""
    others = watchdogs()
    probes = Probes(observers=[], stuck_after=0.5)
    seen: list[Stall | None] = []
    async with probes.lifespan():
        await anyio.lowlevel.checkpoint()
        deadline = time.monotonic() + 15

        def block() -> None:
            while probes.stall is None and time.monotonic() < deadline:
                threading.Event().wait(0.05)

        block()
        seen.append(probes.stall)
        line = probes.service._line()
        assert (line.stuck, line.ready) == (str(seen[0]), False)
        assert not probes.service.saturated
    assert seen[0] is not None
    assert seen[0].where.startswith("tests/watchdog/test_rule.py:")
    assert seen[0].task
    assert probes.stall is None
    wait_until(lambda: watchdogs() <= others, "the thread has ended")
    assert "has been stuck" in caplog.text


@pytest.mark.parametrize("options", [{"stuck_after": None}, {}])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_nobody_watches_if_nobody_is_to(options: dict[str, Any]) -> None:
    """With ``stuck_after=None`` there is no thread."""
    others = watchdogs()
    probes = Probes(observers=[], **options)
    async with probes.lifespan():
        assert len(watchdogs() - others) == (0 if options else 1)
        if options:
            probes.service.watchdog.tick()
    wait_until(lambda: watchdogs() <= others, "the thread has ended")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"stuck_after": 0.4}, r"stuck_after must be >= 0\.5 seconds, got 0\.4; None"),
        (
            {"stuck_after": True},
            r"stuck_after must be >= 0\.5 seconds, got True; None means no watchdog",
        ),
        ({"stuck_after": 1e10}, "stuck_after must be at most 1e9 seconds, got 10000000000.0; None"),
        ({"on_stuck": "restart"}, "on_stuck must be 'report' or 'exit', got 'restart'"),
        ({"on_stuck": "exit", "stuck_after": None}, "on_stuck='exit' needs a watchdog"),
        ({"exits_per_hour": 0}, "exits_per_hour must be a whole number >= 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    """Where it is written."""
    with pytest.raises(ConfigurationError, match=f"^Probes: {complaint}"):
        Probes(**options)
