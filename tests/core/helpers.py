"""Checks that misbehave, each in its own way, and an observer that remembers."""

from __future__ import annotations

import contextlib
import threading
from time import perf_counter
from typing import TYPE_CHECKING

import anyio

from probekit import CheckResult, Drain, Observer, Probe, Probes, Report, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Recorder(Observer):
    """Remembers every event, and lets a test wait for the next result."""

    def __init__(self) -> None:
        self.results: list[CheckResult] = []
        self.errors: list[BaseException | None] = []
        self.changes: list[tuple[Status, Status]] = []
        self.reports: list[tuple[Status | None, Status]] = []
        self.drains: list[Drain | None] = []
        self._waiting: list[anyio.Event] = []

    def on_result(self, result: CheckResult, error: BaseException | None) -> None:
        """Remember it and wake whoever waits for it."""
        self.results.append(result)
        self.errors.append(error)
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    def on_change(self, before: Status, result: CheckResult, error: BaseException | None) -> None:
        """Remember both ends of it."""
        self.changes.append((before, result.status))

    def on_report(self, before: Status | None, report: Report) -> None:
        """Remember both ends of it."""
        self.reports.append((before, report.status))

    def on_drain(self, drain: Drain | None) -> None:
        """Remember it."""
        self.drains.append(drain)

    async def next_result(self) -> CheckResult:
        """Wait for a result that is not known yet."""
        event = anyio.Event()
        self._waiting.append(event)
        await event.wait()
        return self.results[-1]


class Script:
    """An async check that does the next thing of a list each time, and the last for ever."""

    def __init__(self, *steps: BaseException | Mapping[str, object] | float | None) -> None:
        self.steps = list(steps)
        self.runs = 0
        self.__name__ = "script"

    async def __call__(self) -> Mapping[str, object] | None:
        """Raise it, return it, or (a number) sleep for so long."""
        step = self.steps[min(self.runs, len(self.steps) - 1)]
        self.runs += 1
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float | int):
            await anyio.sleep(step)
            return None
        return step


async def stubborn() -> None:
    """Swallow every cancellation and go on."""
    while True:
        try:
            await anyio.sleep(3600)
        except anyio.get_cancelled_exc_class():
            pass


async def unkillable() -> None:
    """Swallow everything, closing included; not for ever, or this very process would not end."""
    for _ in range(10_000):
        with contextlib.suppress(BaseException):
            await anyio.sleep(3600)


class Hung:
    """A sync check that hangs until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []
        self.__name__ = "hung"

    def __call__(self) -> None:
        """Hang, for 15 s at most: a test that fails must not leave threads behind."""
        self.threads.append(threading.current_thread())
        self.entered.release()
        self.go_on.wait(15)

    def thread(self) -> threading.Thread:
        """Return the one thread that it hangs on."""
        assert self.entered.acquire(timeout=10)
        (thread,) = self.threads
        return thread


def busy(seconds: float) -> None:
    """Hold the caller's thread for so long, without a call that would be seen as blocking."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


async def ask(
    probes: Probes, probe: Probe = Probe.READINESS, name: str | None = None
) -> CheckResult:
    """Return the result of the one check, or of the one of that name."""
    report = await probes.report(probe)
    if name is None:
        (result,) = report.checks.values()
        return result
    return report.checks[name]


async def run_together(count: int, function: Callable[[], object]) -> list[object]:
    """Call the async ``function`` from ``count`` tasks at once and return what they return."""
    found: list[object] = []

    async def one() -> None:
        found.append(await function())  # type: ignore[misc]  # it is async

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
    return found
