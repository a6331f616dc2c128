"""Workers of examples/worker as processes of their own, and ways to end them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.clients import request
from tests.waiting import PATIENCE, free_port, wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator
    from typing import Self

ROOT = Path(__file__).parents[2]
READY = "the probes are at"
RENDERED = re.compile(r"invoice (\w+) is rendered, attempt (\d+)$", re.MULTILINE)


def variables(port: int, more: dict[str, str]) -> dict[str, str]:
    """Return the environment of a worker: ours without coverage, which handles SIGTERM itself."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE_", "PROBEKIT_"))
    }
    return {**inherited, "PORT": str(port), "PROBEKIT_SCOPE": "process", **more}


class Worker:
    """A process of the example, its output in a file.

    Args:
        log: Where its output goes.
        environ: Variables beside those of this process.
    """

    def __init__(self, log: Path, **environ: str) -> None:
        self.port = free_port()
        self._log = log
        log.touch()
        self.pid = self._start(log, variables(self.port, environ))

    def _start(self, log: Path, environ: dict[str, str]) -> int:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "examples.worker"],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return self._process.pid

    def status(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._process.poll()

    def has_ended(self) -> bool:
        """Whether it has an exit status."""
        return self.status() is not None

    def __enter__(self) -> Self:
        """Return it once its probes answer."""
        try:
            wait_until(self.is_up, "the worker is up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, by force if it has not ended."""
        self.signal(signal.SIGKILL)
        wait_until(self.has_ended, "it ends")

    def log(self) -> str:
        """Return what it has written."""
        return self._log.read_text(encoding="utf-8")

    def is_up(self) -> bool:
        """Whether it has come so far that it listens."""
        if self.status() is not None:
            raise RuntimeError(f"it ended with {self.status()}:\n{self.log()}")
        return READY in self.log()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it has not ended."""
        if self.status() is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        wait_until(self.has_ended, f"it ends:\n{self.log()}", patience=30)
        status = self.status()
        assert status is not None
        return status

    def drain(self) -> None:
        """Do as an operator does, who may find nobody there."""
        with suppress(OSError):
            request(self.port, "POST", "/admin/drain", patience=2)


class Nursery:
    """Starts workers at little cost; see `tests.examples._nursery`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.examples._nursery"],
            cwd=ROOT,
            env=variables(0, {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it and all who were born there."""
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self, wanted: object) -> int | None:
        """Ask for a worker or for the status of one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


class Child(Worker):
    """A worker from a nursery."""

    def __init__(self, nursery: Nursery, log: Path, **environ: str) -> None:
        self._nursery = nursery
        self._status: int | None = None
        super().__init__(log, **environ)

    def _start(self, log: Path, environ: dict[str, str]) -> int:
        pid = self._nursery.ask({"log": str(log), "environ": environ})
        assert pid is not None
        return pid

    def status(self) -> int | None:
        """Return its exit status, or None while it runs."""
        if self._status is None:
            self._status = self._nursery.ask(self.pid)
        return self._status


def kill(worker: Worker, _: random.Random) -> Generator[float]:
    """End it without a word; like all of these, yield the seconds until the next step."""
    worker.signal(signal.SIGKILL)
    yield 0


def terminate(worker: Worker, _: random.Random) -> Generator[float]:
    """Let it leave in order."""
    worker.signal(signal.SIGTERM)
    yield 0


def terminate_twice(worker: Worker, chance: random.Random) -> Generator[float]:
    """Lose patience."""
    worker.signal(signal.SIGTERM)
    yield chance.uniform(0, 0.3)
    worker.signal(signal.SIGTERM)


def drain_and_terminate(worker: Worker, chance: random.Random) -> Generator[float]:
    """Announce it."""
    worker.drain()
    yield chance.uniform(0, 0.3)
    worker.signal(signal.SIGTERM)


ENDINGS = [kill, terminate, terminate_twice, drain_and_terminate]


class Fleet:
    """Workers that end at random moments, each of them replaced at once.

    Args:
        start: Starts one.
        chance: What decides.

    Attributes:
        endings: How often each has happened, with the exit status.
    """

    def __init__(self, start: Callable[[], Worker], chance: random.Random) -> None:
        self.endings: Counter[tuple[str, int]] = Counter()
        self._start = start
        self._chance = chance

    def lives(self) -> Generator[None]:
        """Start one worker after the other and end each, a step at a time and for ever."""
        while True:
            worker = self._start()
            try:
                yield from self._live(worker)
                ending = self._chance.choice(ENDINGS)
                for pause in ending(worker, self._chance):
                    yield from pausing(pause)
                yield from pausing(2 * PATIENCE, until=worker.has_ended)
                self.endings[ending.__name__, worker.wait()] += 1
            finally:
                worker.__exit__()

    def _live(self, worker: Worker) -> Generator[None]:
        # Now and then it is over before the worker is up.
        if self._chance.random() < 0.9:
            yield from pausing(PATIENCE, until=worker.is_up)
        yield from pausing(self._chance.uniform(0, 0.4))


def pausing(seconds: float, *, until: Callable[[], bool] = lambda: False) -> Generator[None]:
    """Let others go on for so long, or until something is the case."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        yield


def rendered(logs: Path) -> dict[str, list[int]]:
    """Return at which attempts each invoice was rendered, from the logs of all workers."""
    found: dict[str, list[int]] = {}
    for log in logs.glob("worker-*.log"):
        for job, attempt in RENDERED.findall(log.read_text(encoding="utf-8")):
            found.setdefault(job, []).append(int(attempt))
    return found
