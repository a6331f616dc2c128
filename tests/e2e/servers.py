"""Real ASGI servers as subprocesses on loopback, each ended by its process id.

They know neither pytest nor probekit. Every wait is bounded.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["APPS", "SERVERS", "Server", "serve"]

APPS = Path(__file__).parent / "apps"


def uvicorn(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of uvicorn."""
    where = ["--app-dir", str(app.parent), "--host", "127.0.0.1", "--port", str(port)]
    return ["uvicorn", f"{app.stem}:app", *where, "--no-access-log", *options]


def hypercorn(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of hypercorn; the application is in a child of its process."""
    return ["hypercorn", f"{app}:app", "--bind", f"127.0.0.1:{port}", *options]


SERVERS: Mapping[str, Callable[..., list[str]]] = {
    "uvicorn-asyncio": lambda app, port, *more: uvicorn(app, port, "--loop", "asyncio", *more),
    "uvicorn-uvloop": lambda app, port, *more: uvicorn(app, port, "--loop", "uvloop", *more),
    "hypercorn-asyncio": lambda app, port, *more: hypercorn(app, port, "-k", "asyncio", *more),
    "hypercorn-trio": lambda app, port, *more: hypercorn(app, port, "-k", "trio", *more),
}
"""The command lines by the name of the server and its event loop."""


class Server:
    """A subprocess that serves one application; a context manager that starts and ends it.

    Args:
        module: The module to run and its arguments, as after ``python -m``.
        port: Where that listens, on 127.0.0.1.
        environ: Variables beside those of this process.
    """

    def __init__(self, module: list[str], *, port: int, **environ: str) -> None:
        self.port = port
        self._command = [sys.executable, "-m", *module]
        self._environ = os.environ | environ
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and return when it takes connections."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # a group of its own, so that its children end with it
        )
        try:
            wait_until(self._listens, f"{self._command[2]} listens")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it, by force if it must be."""
        try:
            self.stop()
        except TimeoutError:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        self._log.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once it has been started."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    def running(self) -> bool:
        """Return whether it still runs."""
        return self.process.poll() is None

    def log(self) -> str:
        """Return what it has printed so far."""
        descriptor = self._log.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Return its exit status once it has ended.

        Raises:
            TimeoutError: If it goes on for more than ``patience`` seconds.
        """
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {patience} s:\n{self.log()}") from None

    def stop(self, patience: float = PATIENCE) -> float:
        """Send SIGTERM, return the seconds that it took to end; 0.0 if it had ended already.

        Raises:
            TimeoutError: If it goes on for more than ``patience`` seconds.
        """
        if not self.running():
            return 0.0
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        self.wait(patience)
        return time.monotonic() - began

    def cpu(self) -> float:
        """Return the seconds of CPU time that the process has used; on Linux only."""
        # What clock_getcpuclockid(3) returns. In nanoseconds, where /proc counts ticks of 10 ms.
        return time.clock_gettime((~self.pid << 3) | 2)

    def _listens(self) -> bool:
        if not self.running():
            raise RuntimeError(f"ended with {self.process.returncode}:\n{self.log()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except ConnectionError:
            return False
        return True


def serve(app: str | Path, on: str = "uvicorn-asyncio", *options: str, **environ: str) -> Server:
    """Return a server, not yet started, for the variable ``app`` of a module.

    Args:
        app: The module's name in `APPS`, or the path of its file.
        on: A key of `SERVERS`.
        *options: Further arguments of the server.
        **environ: Variables for the application.
    """
    path = app if isinstance(app, Path) else APPS / f"{app}.py"
    port = free_port()
    return Server(SERVERS[on](path, port, *options), port=port, **environ)
