"""Checks that one thread declares while another goes through all that there are."""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Probe, Probes
from tests.core.helpers import Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

FILES = ("engine.py", "answers.py", "declaring.py")
"""Where all checks are gone through."""

MANY = 200
"""Checks at most, which are more than any of it takes steps before it comes to them."""


@contextmanager
def others_declaring(probes: Probes) -> Iterator[None]:
    """Declare a check before every step of this thread, as another thread might."""
    before = len(probes.checks(Probe.STARTUP))
    numbers = itertools.count(before)

    def step(frame: FrameType, event: str, _: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            return step if frame.f_code.co_filename.endswith(FILES) else None
        probes.startup(Script(None), name=f"check {next(numbers)}")
        if len(probes.checks(Probe.STARTUP)) == before + MANY:
            sys.settrace(None)
        return step

    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(None)
    assert len(probes.checks(Probe.STARTUP)) > before


def run_in_thread(main: Callable[[Probes], Awaitable[object]], probes: Probes) -> None:
    """Run ``main`` in a thread, which may be traced, and raise what it raises."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            anyio.run(main, probes)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(15)
    assert not thread.is_alive()
    for error in raised:
        raise error


async def peek(probes: Probes) -> None:
    """Look at what is known."""
    with others_declaring(probes):
        for _ in range(5):
            probes.peek()


async def look(probes: Probes) -> None:
    """Look at what is declared."""
    with others_declaring(probes):
        for _ in range(5):
            probes.checks(Probe.STARTUP)


async def ask(probes: Probes) -> None:
    """Have the checks run, on whatever loop they ran before."""
    with others_declaring(probes):
        await probes.report()


async def plan(probes: Probes) -> None:
    """Begin the background checks where the loop is known."""
    await probes.report()
    with others_declaring(probes):
        for _ in range(5):
            probes.service.engine.start()


async def end(probes: Probes) -> None:
    """End the background checks."""
    await probes.report()
    with others_declaring(probes):
        await probes.service.engine.stop()


@pytest.mark.parametrize("main", [peek, look, ask, plan, end])
def test_a_check_may_be_declared_between_any_two_steps(
    main: Callable[[Probes], Awaitable[object]],
) -> None:
    """It is there for the next who goes through them."""
    probes = Probes(observers=[], drain_delay=0, stuck_after=None)
    for number in range(3):
        probes.startup(Script(3600), name=f"check {number}", timeout=0.01)
    anyio.run(probes.report)
    run_in_thread(main, probes)
