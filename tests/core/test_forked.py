"""What is made anew in a child that was forked."""

from __future__ import annotations

import gc
import os
import runpy
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


def test_a_system_that_cannot_fork_needs_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such function; the module is loaded there all the same."""
    monkeypatch.delattr(os, "register_at_fork")
    assert callable(runpy.run_path(str(forked.__file__))["renew_when_forked"])
