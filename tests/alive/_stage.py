"""A pod's directory with workers in it that are made up, but for their processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit._alive.judge import Judgement, judge
from probekit._lifecycle.pod import files
from probekit._lifecycle.pod.lines import Stem
from probekit._lifecycle.pod.master import find_key
from probekit._lifecycle.pod.place import open_directory
from probekit._lifecycle.pod.records import Worker, worker_content
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from probekit._lifecycle.pod.key import Key

__all__ = ["SILENT", "Stage"]

SILENT = 0.9
"""Seconds of silence that are too long for a worker whose threshold is a tenth of a second, and too
short for a process that has just been started to be younger than its line."""


class Stage:
    """A pod whose master is this process; a context manager.

    Args:
        runtime: The runtime directory.
        key: Another key than that of this process.
    """

    def __init__(self, runtime: Path, key: Key | None = None) -> None:
        self.environment = {"PROBEKIT_RUNTIME_DIR": str(runtime)}
        opened = open_directory(key or find_key(), self.environment)
        self.directory, self.path = opened.descriptor, Path(opened.path)
        self._stack = ExitStack()
        self._stack.callback(os.close, self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def process(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that is killed at the end; by default one that sleeps."""
        process = subprocess.Popen(command or ("sleep", "60"))
        self._stack.callback(process.wait, PATIENCE)
        self._stack.callback(process.kill)
        return process

    def spinner(self) -> subprocess.Popen[bytes]:
        """Start a process that computes all the time."""
        return self.process(sys.executable, "-I", "-S", "-c", "while True: pass")

    def lock(self, pid: int, app: str = "app") -> Stem:
        """Hold the lock of a worker, as it does itself."""
        stem = Stem(app, pid)
        descriptor = os.open(self.path / stem.lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._stack.callback(os.close, descriptor)
        return stem

    def say(self, pid: int, app: str = "app", *, ago: float = 0.0, **values: Any) -> None:
        """Write a worker's line, as if so many seconds ago."""
        now = time.monotonic()
        worker = Worker(pid, time.time(), now - ago, ready=True, draining=False, stuck_after=0.1)
        files.write(self.directory, Stem(app, pid).line, worker_content(worker._replace(**values)))

    def worker(self, pid: int, app: str = "app", *, ago: float = 0.0, **values: Any) -> None:
        """Put a worker on the stage that lives and has said this."""
        self.lock(pid, app)
        self.say(pid, app, ago=ago, **values)

    def judged(self, app: str | None = None) -> Judgement:
        """Return what is found."""
        return judge(self.environment, app=app)

    def lines(self) -> list[str]:
        """Return what is said of each worker."""
        return [str(verdict) for verdict in self.judged().workers]
