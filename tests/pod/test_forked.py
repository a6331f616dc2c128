"""What is made anew in a child that was forked."""

from __future__ import annotations

import gc
import os
import runpy
from typing import TYPE_CHECKING

from probekit._lifecycle import forked

from ._workers import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from probekit import Probes

    Making = Callable[..., Probes]


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


def test_a_pod_that_is_made_anew_has_nothing_open_and_opens_it_again(shared: Making) -> None:
    """The files that a child has open would be its parent's."""
    before = len(descriptors())
    service = shared().service
    service.pod.announce(service._line())
    assert len(descriptors()) == before + 2
    service.pod.renew()
    assert len(descriptors()) == before
    service.pod.announce(service._line())
    assert [worker.pid for worker in service.pod.workers()] == [os.getpid()]
    service.pod.leave()
    assert len(descriptors()) == before


def test_a_system_that_cannot_fork_needs_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such function; the module is loaded there all the same."""
    monkeypatch.delattr(os, "register_at_fork")
    assert callable(runpy.run_path(str(forked.__file__))["renew_when_forked"])
