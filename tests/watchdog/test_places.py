"""Where a thread stands: which line is the application's, and what a stack looks like."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import probekit
from probekit._lifecycle.watchdog.places import Place, blamed, lines_of, short
from probekit._lifecycle.watchdog.stacks import Frames, TimerFile, parse
from tests.lifecycle._signals import Program
from tests.waiting import PATIENCE, wait_until

from ._standing import Kennel, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STANDARD = Path(sysconfig.get_path("stdlib"))
SITE = STANDARD / "site-packages"

OWN = Place("/srv/app/orders.py", 22, "handler")
SCRIPT = Place("/srv/app/main.py", 5, "<module>")
LIBRARY = Place(str(SITE / "redis" / "connection.py"), 700, "read")
PYTHON = Place(str(STANDARD / "socket.py"), 706, "readinto")
FROZEN = Place("<frozen runpy>", 88, "_run_code")
OURS = Place(str(Path(probekit.__file__).parent / "asgi.py"), 95, "__call__")
RUNNER = Place(str(STANDARD / "asyncio" / "runners.py"), 118, "run")
TRIO = Place(str(SITE / "trio" / "_core" / "_run.py"), 2866, "unrolled_run")


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        ([OWN], OWN),
        ([PYTHON, LIBRARY, OWN, OURS, LIBRARY, RUNNER, SCRIPT], OWN),
        ([PYTHON, LIBRARY, OURS, RUNNER, SCRIPT], LIBRARY),
        ([PYTHON, OURS, TRIO, SCRIPT, FROZEN], PYTHON),
        ([RUNNER, SCRIPT], SCRIPT),
        ([FROZEN, SCRIPT], SCRIPT),
        ([FROZEN], FROZEN),
        ([], None),
    ],
    ids=["own", "within", "library", "python", "in the loop", "no loop", "frozen", "nothing"],
)
def test_the_innermost_place_of_the_application_is_named(
    stack: list[Place], place: Place | None
) -> None:
    """Of what runs inside the loop; the script that started it has no part in it."""
    assert blamed(stack) == place


def test_a_path_is_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It begins where Python found the module."""
    monkeypatch.setattr(sys, "path", ["", "/", "/srv", "/srv/app"])
    monkeypatch.chdir(tmp_path)
    assert short("/srv/app/orders.py") == "orders.py"
    assert short(str(tmp_path / "package" / "main.py")) == str(Path("package", "main.py"))
    assert short("/elsewhere/main.py") == "/elsewhere/main.py"
    assert short("<string>") == "<string>"


def test_a_path_needs_no_current_directory(tmp_path: Path) -> None:
    """A process may stand where there is nothing any more."""
    program = (
        "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); sys.path.append('');"
        "from probekit._lifecycle.watchdog.places import short; print(short('/srv/app.py'))"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, gone],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "/srv/app.py\n", done.stderr


def test_a_stack_has_the_innermost_last(tmp_path: Path) -> None:
    """Each line with its text, where there is one."""
    file = tmp_path / "app.py"
    file.write_text("def handler():\n    sleep(5)\n")
    lines = lines_of([Place(str(file), 2, "handler"), Place("<frozen runpy>", 88, "_run_code")])
    assert lines == ["  <frozen runpy>:88 in _run_code", f"  {file}:2 in handler: sleep(5)"]


def test_the_frames_of_a_thread_are_those_it_stands_in(standing: Standing) -> None:
    """The innermost first; of a thread that is gone there are none."""
    stacks = Frames()
    found = stacks.of([standing.ident, 1])
    assert [*found] == [standing.ident]
    functions = [place.function for place in found[standing.ident]]
    assert functions.index("wait") < functions.index("stand_still") < functions.index("run")
    stacks.close()


def test_a_deep_stack_is_cut() -> None:
    """A recursion has more frames than anybody reads."""

    def deep(left: int) -> int:
        return deep(left - 1) if left else len(Frames().of([threading.get_ident()]).popitem()[1])

    assert deep(300) == 200


@pytest.fixture
def no_other_timer() -> Iterator[None]:
    """End what a test leaves running."""
    yield
    faulthandler.cancel_dump_traceback_later()


def where_threads_stand() -> None:
    """Find a standstill, with the stack that faulthandler wrote."""
    with Standing() as standing, tempfile.TemporaryDirectory() as directory:
        watched = Kennel(Path(directory), free_threaded=True, stuck_after=0.5)
        watched.turn(standing)
        stacks = watched.dog._stacks
        wait_until(lambda: bool(stacks and stacks.of([standing.ident])), "faulthandler writes")
        watched.pass_time(0.7)
        stall = watched.found()
        watched.dog.stop()
    assert stall is not None
    assert stall.where.endswith(" in stand_still")
    assert stall.task == ""


def put_off() -> None:
    """Let something move, and then nothing."""
    with Standing() as standing:
        stacks = TimerFile(0.8)
        stacks.moved(10.0)
        stacks.moved(10.1)
        wait_until(lambda: bool(stacks.of([standing.ident])), "faulthandler writes")
        assert stacks.of([1]) == {}
        stacks.moved(10.1)
        assert stacks.of([standing.ident]) != {}
        stacks.moved(10.3)
        assert stacks.of([standing.ident]) == {}
        stacks.close()
        stacks.close()
        stacks.moved(20.0)
        assert stacks.of([standing.ident]) == {}


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(where_threads_stand, id="it tells where threads stand"),
        pytest.param(put_off, id="it is put off while something moves"),
    ],
)
def test_faulthandler_writes_the_stacks(program: Callable[[], None]) -> None:
    """As it must where there is no GIL: the same place, without the name of a task.

    It is armed anew four times in the threshold and not at every look. In a process of its own,
    since it reads the stacks of threads that run beside it: with the many that other tests have
    left behind, Python 3.13.0 has died of that.
    """
    with Program(program, measured=True) as run:
        assert run.end() == 0, run.log()


@pytest.mark.usefixtures("no_other_timer")
def test_a_forked_child_leaves_the_timer_alone() -> None:
    """Its thread is the parent's; to cancel it would wait for ever."""
    stacks = TimerFile(60)
    stacks.moved(10.0)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            stacks.moved(20.0)
            stacks.close()
            os._exit(0)
        os._exit(1)
    done: list[int] = []

    def ended() -> bool:
        child, status = os.waitpid(pid, os.WNOHANG)
        done.extend([status] if child else [])
        return bool(child)

    wait_until(ended, "the child ends")
    stacks.close()
    assert done == [0]


def test_what_faulthandler_writes_is_understood() -> None:
    """In the words of every version."""
    text = """Timeout (0:00:05)!
Thread 0x00007f2a [probekit:watchdog] (most recent call first):
  File "/usr/lib/python3.13/threading.py", line 359 in wait
  ...

Current thread 0x00000001 (most recent call first):
  File "/srv/a b/app.py", line 22 in <lambda>
"""
    assert parse(text) == {
        0x7F2A: [Place("/usr/lib/python3.13/threading.py", 359, "wait")],
        1: [Place("/srv/a b/app.py", 22, "<lambda>")],
    }
