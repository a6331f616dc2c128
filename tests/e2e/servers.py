"""Real servers as subprocesses on loopback, each ended by its process id.

They know neither pytest nor probekit. Every wait is bounded.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, free_port, log_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["APPS", "SERVERS", "WSGI_SERVERS", "Server", "lasting_port", "serve", "session"]

APPS = Path(__file__).parent / "apps"


def uvicorn(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of uvicorn."""
    where = ["--app-dir", str(app.parent), "--host", "127.0.0.1", "--port", str(port)]
    return ["uvicorn", f"{app.stem}:app", *where, "--no-access-log", *options]


def hypercorn(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of hypercorn; the application is in a child of its process."""
    return ["hypercorn", f"{app}:app", "--bind", f"127.0.0.1:{port}", *options]


def gunicorn(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of gunicorn."""
    return ["gunicorn", f"{app.stem}:app", "--bind", f"127.0.0.1:{port}", *options]


def granian(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of granian."""
    where = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
    return ["granian", f"{app.stem}:app", *where, *options]


def daphne(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of daphne, which has no lifespan."""
    where = ["--bind", "127.0.0.1", "--port", str(port)]
    return ["daphne", f"{app.stem}:app", *where, "--verbosity", "0", *options]


UVICORN_WORKER = ("-k", "uvicorn_worker.UvicornWorker")

SERVERS: Mapping[str, Callable[..., list[str]]] = {
    "uvicorn-asyncio": lambda app, port, *more: uvicorn(app, port, "--loop", "asyncio", *more),
    "uvicorn-uvloop": lambda app, port, *more: uvicorn(app, port, "--loop", "uvloop", *more),
    "gunicorn-uvicorn": lambda app, port, *more: gunicorn(app, port, *UVICORN_WORKER, *more),
    "gunicorn-asgi": lambda app, port, *more: gunicorn(app, port, "-k", "asgi", *more),
    "hypercorn-asyncio": lambda app, port, *more: hypercorn(app, port, "-k", "asyncio", *more),
    "hypercorn-uvloop": lambda app, port, *more: hypercorn(app, port, "-k", "uvloop", *more),
    "hypercorn-trio": lambda app, port, *more: hypercorn(app, port, "-k", "trio", *more),
    "granian-asyncio": lambda app, port, *more: granian(app, port, "--loop", "asyncio", *more),
    "granian-uvloop": lambda app, port, *more: granian(app, port, "--loop", "uvloop", *more),
    "daphne": daphne,
}
"""The command lines, after ``python -m``, by the name of the server and its event loop."""


def granian_wsgi(app: Path, port: int, *options: str) -> list[str]:
    """Return the command line of granian for a WSGI application."""
    where = ["--interface", "wsgi", "--no-ws", "--host", "127.0.0.1", "--port", str(port)]
    return ["granian", f"{app.stem}:app", *where, *options]


WSGI_SERVERS: Mapping[str, Callable[..., list[str]]] = {
    "gunicorn-gthread": lambda app, port, *more: gunicorn(app, port, "-k", "gthread", *more),
    "gunicorn-sync": lambda app, port, *more: gunicorn(app, port, "-k", "sync", *more),
    "gunicorn-gevent": lambda app, port, *more: gunicorn(app, port, "-k", "gevent", *more),
    "granian-wsgi": granian_wsgi,
    "waitress": lambda app, port, *more: [
        *("waitress", f"--listen=127.0.0.1:{port}", *more, f"{app.stem}:app")
    ],
    "werkzeug": lambda app, port, *more: [
        *("flask", "--app", app.stem, "run", "--port", str(port), *more)
    ],
}
"""The same of the servers for WSGI applications."""


class Server:
    """A subprocess that listens; a context manager that starts and ends it.

    Args:
        command: What to run.
        port: Where that listens, on 127.0.0.1.
        measured: Whether coverage, if it runs, follows into the process. There it puts a handler
            for SIGTERM in place, which no process has in real life.
        environ: Variables beside those of this process.
    """

    def __init__(
        self, command: list[str], *, port: int, measured: bool = True, **environ: str
    ) -> None:
        self.port = port
        self._command = command
        self._environ = {
            name: value
            for name, value in (os.environ | environ).items()
            if measured or not name.startswith("COVERAGE_")
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and return when it takes connections."""
        # A shell's background jobs have SIGINT ignored, and their children inherit that.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # a group of its own, so that its children end with it
        )
        signal.signal(signal.SIGINT, before)
        try:
            wait_until(self._listens, f"{' '.join(self._command)} listens")
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
        return log_of(self._log)

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to it, or to it and all its children at once."""
        if group:
            os.killpg(self.pid, number)
        else:
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


def session(leader: int) -> list[int]:
    """Return the processes of a session, those that have ended left out; on Linux only."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(errors="replace")
        except OSError:  # it ended in this moment
            continue
        state, _parent, _group, of = text.rpartition(")")[2].split()[:4]
        if int(of) == leader and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def lasting_port() -> int:
    """Return a TCP port that can be had again later: no outgoing connection is given such a one."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def serve(
    app: str | Path,
    on: str = "uvicorn-asyncio",
    *options: str,
    port: int | None = None,
    measured: bool = True,
    **environ: str,
) -> Server:
    """Return a server, not yet started, for the variable ``app`` of a module.

    Args:
        app: The module's name in `APPS`, or the path of its file.
        on: A key of `SERVERS`, or of `WSGI_SERVERS`.
        *options: Further arguments of the server.
        port: Where it listens; by default where nobody does.
        measured: See `Server`.
        **environ: Variables for the application.
    """
    path = app if isinstance(app, Path) else APPS / f"{app}.py"
    port = port or free_port()
    # Not every server can be told where the module is.
    paths = [str(path.parent), os.environ.get("PYTHONPATH")]
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command_of = SERVERS.get(on) or WSGI_SERVERS[on]
    command = [sys.executable, "-m", *command_of(path, port, *options)]
    return Server(command, port=port, measured=measured, **environ)
