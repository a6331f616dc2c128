"""What is said of workers that move, and of those that do not, with real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from probekit._alive.judge import workers_in
from probekit._alive.process import sample, wants_cpu
from probekit._lifecycle.pod.lines import Stem, beat, line_of
from tests.pod._workers import descriptors
from tests.waiting import PATIENCE, wait_until

from ._stage import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._stage import Stage


def test_workers_that_have_spoken_lately_are_alive(stage: Stage) -> None:
    """Nobody looks at their processes, which need not even exist for that."""
    stage.worker(1_000_001, ago=0.2, stuck_after=60.0)
    stage.worker(1_000_002, ago=30.0, stuck_after=60.0)
    judgement = stage.judged()
    assert judgement.alive
    assert judgement.message == "2 of 2 workers alive"
    assert [(each.pid, each.state) for each in judgement.workers] == [
        (1_000_001, "alive"),
        (1_000_002, "alive"),
    ]
    assert re.fullmatch(
        r"worker 1000002 of app: alive, said so 3\d\.\d s ago", str(judgement.workers[1])
    )


def test_a_worker_that_says_that_it_is_stuck_is(stage: Stage) -> None:
    """Its own watchdog knows more than anybody outside, so its words are passed on."""
    pid = stage.process().pid
    stage.worker(pid, stuck="blocked in a call at app.py:22 in handler", stuck_after=5.0)
    judgement = stage.judged()
    assert not judgement.alive
    line = (
        f"worker {pid} of app: stuck, for more than 5 s: blocked in a call at app.py:22 in handler"
    )
    assert [*map(str, judgement.workers)] == [line]
    assert judgement.message == f"1 of 1 workers stuck: {line}"


def test_a_stopped_process_is_named_and_alive_when_it_goes_on(stage: Stage) -> None:
    """SIGSTOP holds everything in it, its watchdog too."""
    process = stage.process()
    process.send_signal(signal.SIGSTOP)
    stopped = sample_state(process.pid)
    wait_until(lambda: stopped() == "T", "it is stopped")
    stage.worker(process.pid, ago=SILENT)
    [line] = stage.lines()
    assert re.fullmatch(
        rf"worker {process.pid} of app: stuck, no sign of life for \d+\.\d s, "
        r"of 0\.1 s allowed: stopped",
        line,
    )
    process.send_signal(signal.SIGCONT)
    stage.say(process.pid, stuck_after=60.0)
    assert stage.judged().alive


def sample_state(pid: int) -> Callable[[], str]:
    """Return what tells the state of a process."""

    def state() -> str:
        found = sample(pid)
        return "" if found is None else found.state

    return state


def test_a_process_that_neither_computes_nor_wants_to_is_blocked(stage: Stage) -> None:
    """A call of C that sleeps holds the GIL."""
    stage.worker(stage.process().pid, ago=SILENT)
    [line] = stage.lines()
    assert line.endswith("0.1 s allowed: blocked, GIL held")


def test_a_process_that_computes_and_says_nothing_holds_the_gil(stage: Stage) -> None:
    """Python code would have let the thread that speaks have its turn."""
    process = stage.spinner()
    wait_until(lambda: used(process.pid) > 0.2, "it has computed")
    stage.worker(process.pid, ago=SILENT, cpu=used(process.pid) - 0.1)
    [line] = stage.lines()
    assert line.endswith("0.1 s allowed: cpu-bound, GIL held")


def used(pid: int) -> float:
    """Return the CPU time of a process."""
    found = sample(pid)
    assert found is not None
    return found.cpu


def test_a_process_that_wants_a_cpu_and_gets_none_is_alive(stage: Stage) -> None:
    """To restart it would take more of what there is too little of."""
    process = stage.spinner()
    wait_until(lambda: wants_cpu(process.pid), "it runs")
    stage.worker(process.pid, ago=SILENT, cpu=1000.0)  # so much was used before, and none since
    judgement = stage.judged()
    assert judgement.alive
    assert judgement.message == "1 of 1 workers alive"
    [verdict] = judgement.workers
    assert verdict.state == "starved"
    assert str(verdict).endswith("0.1 s allowed: starved of CPU")


def test_a_worker_that_speaks_again_while_it_is_looked_at_is_alive(stage: Stage) -> None:
    """A machine that has slept wakes all at once."""
    pid = stage.process().pid
    stage.worker(pid, ago=SILENT)
    speaking = threading.Timer(0.05, stage.say, [pid], {"stuck_after": 60.0})
    speaking.start()
    [verdict] = stage.judged().workers
    speaking.join()
    assert verdict.state == "alive"


def test_a_worker_that_has_no_room_for_its_line_is_alive(stage: Stage) -> None:
    """A full disk takes no line, and the lock bears the last sign of life."""
    pid = stage.process().pid
    stem = stage.lock(pid)
    stage.say(pid, ago=100.0, stuck_after=60.0)
    descriptor = os.open(stage.path / stem.lock, os.O_RDWR)
    beat(descriptor, time.monotonic())
    os.close(descriptor)
    [verdict] = stage.judged().workers
    assert verdict.state == "alive"


def test_a_worker_that_nobody_watches_is_not_judged(stage: Stage) -> None:
    """What it allows itself is not known, so it passes, and that is said."""
    stage.worker(stage.process().pid, ago=500.0, stuck_after=0.0)
    judgement = stage.judged()
    assert judgement.alive
    assert judgement.message == "none is known to be stuck, 1 of 1 workers not judged"
    assert str(judgement.workers[0]).endswith(
        ": not judged, nobody watches it: its stuck_after is None"
    )


def test_a_worker_that_has_just_begun_is_not_judged(stage: Stage) -> None:
    """It takes its lock before it says anything."""
    stage.lock(stage.process().pid)
    [line] = stage.lines()
    assert line.endswith(": not judged, it has not said anything yet")


def test_a_line_of_a_moment_to_come_is_not_judged(stage: Stage) -> None:
    """Another's clock tells nothing about its silence."""
    stage.worker(stage.process().pid, ago=-100.0)
    [line] = stage.lines()
    assert line.endswith(": not judged, its line is of a moment to come")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no JSON"),
        (b'{"version": 1, "pid": 7', "holds no JSON"),
        (b'{"version": 99}', "is of version 99, not 1"),
        (b'{"version": 1, "pid": 7}', "makes no sense"),
        (
            b'{"version": 1, "pid": 7, "started": 1, "at": 1, "ready": true, "draining": false}',
            "speaks of process 7",
        ),
    ],
)
def test_a_line_that_makes_no_sense_is_passed_over(
    content: bytes, complaint: str, stage: Stage
) -> None:
    """The others are judged, and what is wrong is said."""
    stem = stage.lock(stage.process().pid)
    (stage.path / stem.line).write_bytes(content)
    other = stage.process().pid
    stage.worker(other, stuck_after=60.0)
    judgement = stage.judged()
    assert judgement.alive
    assert judgement.message == "1 of 2 workers alive, 1 not judged"
    [odd] = [each for each in judgement.workers if each.pid != other]
    assert odd.state == "not judged"
    assert complaint in odd.text


def test_what_is_no_file_is_passed_over(stage: Stage) -> None:
    """Neither a pipe that nobody fills nor a link nor a directory holds anything up."""
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")):
        stem = stage.lock(stage.process().pid)
        make(stage.path / stem.line)
    (stage.path / "app.x.lock").touch()
    (stage.path / ".lock").touch()
    assert [verdict.state for verdict in stage.judged().workers] == ["not judged"] * 3


def test_a_line_that_becomes_unreadable_while_it_is_looked_at_is_not_judged(stage: Stage) -> None:
    """A doubt is no reason to end a process."""
    pid = stage.process().pid
    stage.worker(pid, ago=SILENT)
    spoiling = threading.Timer(0.05, (stage.path / f"app.{pid}.worker").write_text, ["?"])
    spoiling.start()
    [verdict] = stage.judged().workers
    spoiling.join()
    assert verdict.state == "not judged"


def test_a_worker_whose_process_is_no_more_is_not_judged(stage: Stage) -> None:
    """A child of it may hold its lock still: it is gone, or a zombie, or another has its id."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait(PATIENCE)
    zombie = stage.process("true")
    remains = sample_state(zombie.pid)
    wait_until(lambda: remains() == "", "it has ended")
    another = stage.process()
    for process in (gone, zombie, another):
        stage.worker(process.pid, ago=SILENT + 10.0)
    judgement = stage.judged()
    assert judgement.workers == ()
    assert not judgement.alive
    assert judgement.message.startswith(f"no worker of the pod at {stage.path} has said anything: ")
    assert "startupProbe" in judgement.message
    stage.worker(stage.process().pid, stuck_after=60.0)
    assert stage.judged().message == "1 of 1 workers alive"


def test_a_worker_that_ends_while_it_is_looked_at_is_not_judged(stage: Stage) -> None:
    """The server restarts it, which is no reason to restart the server."""
    process = stage.process()
    stage.worker(process.pid, ago=SILENT)
    stage.worker(stage.process().pid, stuck_after=60.0)
    ending = threading.Timer(0.05, process.kill)
    ending.start()
    judgement = stage.judged()
    ending.join()
    assert judgement.message == "1 of 1 workers alive"


def test_threads_of_a_process_that_is_gone_want_nothing() -> None:
    """It may end between two looks."""
    with subprocess.Popen(["true"]) as process:
        process.wait(PATIENCE)
    assert not wants_cpu(process.pid)


def test_a_worker_whose_lock_is_free_is_no_more(stage: Stage) -> None:
    """The kernel has taken the lock back, and nothing is removed by whoever only reads."""
    stage.say(1_000_001)
    (stage.path / "app.1000001.lock").touch()
    assert stage.judged().workers == ()
    assert (stage.path / "app.1000001.worker").exists()


def test_one_application_of_several_may_be_meant(stage: Stage) -> None:
    """Its name is that of its `Probes`, whatever characters are in it."""
    stage.worker(stage.process().pid, "app", stuck="a lock", stuck_after=60.0)
    stage.worker(stage.process().pid, "my_shop-4cbc7a52", stuck_after=60.0)
    assert not stage.judged().alive
    assert not stage.judged("app").alive
    unknown = stage.judged("shop")
    assert not unknown.alive
    assert unknown.message == (
        "no worker here belongs to an application named 'shop'; there are: app, my_shop-4cbc7a52"
    )


def test_several_that_are_stuck_are_counted(stage: Stage) -> None:
    """The message stays one line, whatever happens."""
    pids = sorted(stage.process().pid for _ in range(3))
    for pid in pids:
        stage.worker(pid, stuck="a lock", stuck_after=60.0)
    assert stage.judged().message == (
        f"3 of 3 workers stuck: worker {pids[0]} of app: stuck, "
        "for more than 60 s: a lock, and 2 more"
    )


def test_no_descriptor_is_left_open(stage: Stage) -> None:
    """A server that judges for months needs no more than at first."""
    stage.worker(stage.process().pid, stuck_after=60.0)
    before = descriptors()
    for _ in range(20):
        stage.judged()
    assert descriptors() == before


def test_a_directory_that_has_just_been_removed_has_no_workers(stage: Stage) -> None:
    """It was there a moment ago, and is made anew by the first worker that notices."""
    stage.path.rmdir()
    assert [*workers_in(stage.directory)] == []


def test_a_line_without_a_lock_tells_its_moment_itself(stage: Stage) -> None:
    """The worker has just left."""
    stage.say(1_000_001, at=7.0)
    line = line_of(stage.directory, Stem("app", 1_000_001))
    assert line is not None
    assert line.at == 7.0
