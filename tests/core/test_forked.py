"""What is made anew in a child that was forked."""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from probekit._core import forked

if TYPE_CHECKING:
    import pytest


class Counting:
    """Writes down that it was made anew."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def renew(self) -> None:
        """Write it down."""
        os.write(self._descriptor, b"x")


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)


def test_what_lives_is_made_anew_in_a_child_and_nowhere_else() -> None:
    """Once for each fork, and not what nobody has any more."""
    read_end, write_end = os.pipe()
    living, dead = Counting(write_end), Counting(write_end)
    for each in (living, dead):
        forked.renew_when_forked(each)
    del each, dead
    gc.collect()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write_end)
    assert os.read(read_end, 10) == b"x"
    os.close(read_end)


def test_one_that_cannot_be_made_anew_leaves_the_others_to_be() -> None:
    """They do not come in any order; the log of the child has its traceback."""
    program = """
        import os, sys
        from probekit._core import forked

        class Failing:
            def renew(self):
                raise OSError("it is gone")

        class Counting:
            def renew(self):
                renewed.append(self)

        renewed = []
        everybody = [Failing(), *(Counting() for _ in range(5))]
        for each in everybody:
            forked.renew_when_forked(each)
        pid = os.fork()
        if pid == 0:
            print(len(renewed))
            sys.exit(0)  # in order, so that what was covered is written down
        assert os.waitpid(pid, 0)[1] == 0
    """
    done = run(program)
    assert done.stdout == "5\n"
    assert "Failing object" in done.stderr
    assert "could not be made anew in a forked child" in done.stderr
    assert done.stderr.endswith("OSError: it is gone\n")


def test_logging_is_made_anew_before_what_may_have_to_be_logged() -> None:
    """Or a child would wait for a lock that a thread of the parent held."""
    program = """
        import sys
        import probekit._core.forked
        print("logging" in sys.modules)
    """
    assert run(program).stdout == "True\n"


def test_a_system_that_cannot_fork_needs_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such function; the module is loaded there all the same."""
    monkeypatch.delattr(os, "register_at_fork")
    assert callable(runpy.run_path(str(forked.__file__))["renew_when_forked"])
