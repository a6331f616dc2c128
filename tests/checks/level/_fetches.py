"""Sources of a number that a test holds in its hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit.checks.worker import Level
from probekit.exceptions import CheckFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_time import FakeClock


class Source:
    """Brings the next of its steps each time, and the last one for ever.

    Attributes:
        steps: Values to return, exceptions to raise, functions to call for a value.
        calls: How often it was asked.
    """

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)
        self.calls = 0

    def next(self) -> Any:
        """Return or raise the next step."""
        step: Any = self.steps[min(self.calls, len(self.steps) - 1)]
        self.calls += 1
        if isinstance(step, BaseException):
            raise step
        return step() if callable(step) else step


class AsyncSource(Source):
    """Does it on the event loop."""

    async def __call__(self) -> Any:
        """Return or raise the next step, and wait for it where it is a coroutine."""
        step = self.next()
        return await step if hasattr(step, "__await__") else step


class SyncSource(Source):
    """Does it on whatever thread it is called on."""

    def __call__(self) -> Any:
        """Return or raise the next step."""
        return self.next()


class Gate:
    """A step that brings its number when it is let go, after 15 s at most.

    Attributes:
        number: What it brings.
        go_on: Lets it go.
        entered: Is released by each that has come to the gate.
    """

    def __init__(self, number: float) -> None:
        self.number = number
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self) -> float:
        """Wait, and return the number."""
        self.entered.release()
        self.go_on.wait(15)
        return self.number


async def hang() -> float:
    """Never come back, unless it is cancelled."""
    await anyio.sleep_forever()
    raise AssertionError


def after(seconds: float, number: float) -> Callable[[], Any]:
    """Return a step that brings ``number`` after so many seconds on the loop."""

    async def bring() -> float:
        await anyio.sleep(seconds)
        return number

    return bring


def make_level(clock: FakeClock, fetch: Any, **options: Any) -> Level:
    """Return a level in this time, with a bound if the options have none."""
    if not {"minimum", "maximum", "degrade_below", "degrade_above"} & set(options):
        options["minimum"] = 0
    return Level(fetch, clock=clock.monotonic, **options)


async def failure(level: Level) -> CheckFailure:
    """Return what the check raises."""
    with pytest.raises(CheckFailure) as caught:
        await level()
    return caught.value


async def value_of(level: Level) -> object:
    """Return the value that a passing level publishes."""
    return (await level())["value"]
