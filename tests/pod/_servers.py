"""Servers with four workers, each started in a session of its own and ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.clients import Answer, get, request, volley
from tests.waiting import PATIENCE, free_port, log_of, wait_until

from ._workers import ROOT, pod_environment, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["SERVERS", "Running"]

HERE = Path(__file__).parent
GUNICORN = ["gunicorn", "-b", "127.0.0.1:{port}", "-w", "{workers}", "--chdir", str(HERE)]
UVICORN_WORKER = ["-k", "uvicorn_worker.UvicornWorker", "_app:app"]
SERVERS: Mapping[str, list[str]] = {
    "uvicorn": [
        *("uvicorn", "--port", "{port}", "--workers", "{workers}", "--app-dir", str(HERE)),
        *("--no-access-log", "_app:app"),
    ],
    "gunicorn": [*GUNICORN, *UVICORN_WORKER],
    "gunicorn-preload": [*GUNICORN, "--preload", *UVICORN_WORKER],
    "gunicorn-asgi": [*GUNICORN, "-k", "asgi", "_app:app"],
    "gunicorn-gthread": [*GUNICORN, "-k", "gthread", "--threads", "8", "_wsgi:app"],
    "granian": [
        *("granian", "--interface", "asgi", "--port", "{port}", "--workers", "{workers}"),
        *("--respawn-failed-workers", "--respawn-interval", "0.1"),
        *("--working-dir", str(HERE), "_app:app"),
    ],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:{port}", "-w", "{workers}", f"{HERE}/_app.py:app"],
}
"""The command lines, after ``python -m``."""


class Running:
    """A server and its workers; a context manager.

    Args:
        kind: A key of `SERVERS`.
        runtime: The runtime directory.
        workers: How many.
        before: What to start it with, as ``unshare`` and its options.
        environ: Further variables.
    """

    def __init__(
        self,
        kind: str,
        runtime: Path,
        *,
        workers: int = 4,
        before: tuple[str, ...] = (),
        **environ: str,
    ) -> None:
        self.kind = kind
        self.port = free_port()
        self._workers = self.expected = workers
        self._before = before
        self._environ = pod_environment(runtime, **environ)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and return when all its workers have said so."""
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.end()
        self._log.close()

    def start(self) -> None:
        """Start it, anew perhaps; see `__enter__`."""
        values = {"port": self.port, "workers": self._workers}
        command = [part.format_map(values) for part in SERVERS[self.kind]]
        self._process = subprocess.Popen(
            [*self._before, sys.executable, "-m", *command],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            wait_until(self.complete, f"{self.kind} has its workers")
        except BaseException:
            say(self.log())
            self.end(signal.SIGKILL)
            raise

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM to the master alone, SIGKILL to all; a container is always killed."""
        if self._process is None:
            return
        if how is signal.SIGTERM and not self._before and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                say(self.log())
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The master."""
        assert self._process is not None
        return self._process

    def running(self) -> bool:
        """Whether the master runs."""
        return self.process.poll() is None

    def log(self) -> str:
        """Return what it has printed so far."""
        return log_of(self._log)

    # -- asking -------------------------------------------------------------------------------

    def shown(self) -> dict[str, Any]:
        """Return what any worker shows at ``/admin/drain``."""
        answer: dict[str, Any] = get(self.port, "/admin/drain").json()
        return answer

    def pids(self) -> set[int]:
        """Return the workers that any worker shows; none while there is nobody to ask."""
        try:
            return {worker["pid"] for worker in self.shown()["workers"]}
        except OSError:
            assert self.running(), self.log()
            return set()

    def complete(self) -> bool:
        """Whether it has its workers."""
        return len(self.pids()) == self.expected

    def drain(self, body: bytes = b"") -> Answer:
        """POST to whichever worker it meets."""
        answer = request(self.port, "POST", "/admin/drain", body=body)
        assert answer.status == 202, answer.body
        return answer

    def undrain(self) -> Answer:
        """DELETE, likewise."""
        answer = request(self.port, "DELETE", "/admin/drain")
        assert answer.status == 200, answer.body
        return answer

    def codes(self, count: int = 200) -> Counter[int]:
        """Ask for readiness over so many fresh connections, and count the answers by status."""
        return Counter(answer.status for answer in self.answers(count))

    def answers(self, count: int = 200) -> list[Answer]:
        """Ask for readiness over so many fresh connections."""
        return volley(self.port, "/readyz", count=count, at_a_time=4)

    def settle(self, code: int, what: str) -> float:
        """Return the seconds until forty answers in a row are ``code``."""
        began = time.monotonic()
        wait_until(lambda: self.codes(40) == {code: 40}, what)
        return time.monotonic() - began
