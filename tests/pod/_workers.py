"""Workers in processes of their own, as few as possible, and places to let them meet."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import PATIENCE, log_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

__all__ = [
    "NOBODY",
    "ROOT",
    "Worker",
    "agree",
    "descriptors",
    "names_in",
    "namespaces",
    "open_to_all",
    "pod_environment",
    "say",
]

NOBODY = 65_534
ROOT = Path(__file__).parents[2]


def pod_environment(runtime: Path | None, **environ: str) -> dict[str, str]:
    """Return the environment of a process that shares its state in ``runtime``."""
    without = {"PROBEKIT_SCOPE", "PROBEKIT_RUNTIME_DIR", "XDG_RUNTIME_DIR", "TMPDIR"}
    kept = {name: value for name, value in os.environ.items() if name not in without}
    named = {} if runtime is None else {"PROBEKIT_RUNTIME_DIR": str(runtime)}
    return kept | named | environ


class Worker:
    """A process with a `Probes` that does what it is told; a context manager.

    Several share their state with ``PROBEKIT_SCOPE=container``, since nothing else joins them.

    Args:
        runtime: The runtime directory; None for those that are tried by default.
        uid: As which user.
        before: What to start it with, as ``unshare`` and its options.
        environ: Further variables.
    """

    def __init__(
        self, runtime: Path | None, *, uid: int = 0, before: tuple[str, ...] = (), **environ: str
    ) -> None:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environ = {"PROBEKIT_SCOPE": "container", "PYTHONPATH": path} | environ
        variables = pod_environment(runtime, **environ)
        if uid or before:  # who has no right to write where coverage does
            variables = {k: v for k, v in variables.items() if not k.startswith("COVERAGE_")}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.pod._child", str(uid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=variables,
            cwd=ROOT,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it, by force if it must be."""
        if self._process.returncode is None:
            try:
                self._process.communicate(timeout=PATIENCE)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                self.kill()
        self.errors.close()

    def send(self, command: str, *arguments: object, **options: object) -> None:
        """Tell it something, and do not wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, options or arguments]) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Return the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it has ended:\n{self.log()}")
        return json.loads(line)

    def ask(self, command: str, *arguments: object, **options: object) -> Any:
        """Tell it something and return the answer."""
        self.send(command, *arguments, **options)
        return self.receive()

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def log(self) -> str:
        """Return what it has logged."""
        return log_of(self.errors)


def agree(reason: str | None, *workers: Worker) -> None:
    """Return when all these workers have looked and drain for this reason."""
    time.sleep(0.006)  # so long is a look believed

    def all_do() -> bool:
        return all(worker.ask("reason") == reason for worker in workers)

    wait_until(all_do, f"all drain for {reason}", patience=2)


def names_in(directory: Path | str) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in Path(directory).iterdir())


def descriptors() -> list[str]:
    """Return what this process has open."""
    return names_in("/proc/self/fd")


def say(text: str) -> None:
    """Print what was measured, for ``pytest -rP``."""
    sys.stdout.write(f"{text}\n")


@contextmanager
def open_to_all() -> Iterator[Path]:
    """Make a directory that every user may enter, whatever the modes above pytest's own."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def namespaces(*kinds: str) -> tuple[str, ...]:
    """Return the command that starts another in namespaces of its own, or skip the test.

    Args:
        *kinds: Of ``unshare``'s long options, as ``"mount"``.
    """
    import pytest  # which the benchmarks, that start the same servers, do without

    command = ("unshare", "--user", "--map-root-user", *(f"--{kind}" for kind in kinds))
    if "pid" in kinds:
        command = (*command, "--fork", "--mount-proc", "--kill-child")
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if tried.returncode:
        pytest.skip(f"no namespaces of one's own here: {tried.stderr.strip()}")
    return command
