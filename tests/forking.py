"""Programs that fork: each in a process of its own, since Python warns where there are threads."""

from __future__ import annotations

import subprocess
import sys
import textwrap

__all__ = ["run_forking"]

IN_CHILD = """
import os, sys, traceback

def in_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)  # in order, so that what was covered is written down
    assert os.waitpid(pid, 0)[1] == 0
"""


def run_forking(preamble: str, program: str) -> None:
    """Run a program that must end well within fifteen seconds.

    Args:
        preamble: What comes before it.
        program: It may have ``in_child(function)`` call a function in a child.
    """
    code = IN_CHILD + preamble + textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stderr) == (0, "")
