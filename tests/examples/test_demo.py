"""`./scripts/demo` as a user runs it: when all goes as told, and when it does not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds that the demo may take; it takes about 20."""


class Demo:
    """A run of the demo, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def text(self) -> str:
        """What it has written."""
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return where ``pattern`` is in its output, once it is there."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.text)) is None:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)
        return found

    def server(self) -> int:
        """Return the process id of its server."""
        return int(self.wait_for(r"process (\d+)\n")[1])


@contextmanager
def demo(directory: Path, *arguments: str) -> Generator[Demo]:
    """Run the demo, and never longer than the block."""
    output = directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.fastapi_app.demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory), "PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Demo(process, output)
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its server then
            process.wait(PATIENCE)


def runs(process: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_goes_as_told(tmp_path: Path) -> None:
    """The story is told to its end, nothing is lost, and nothing is left behind."""
    with demo(tmp_path) as told:
        status = told.process.wait(PATIENCE)
    assert status == 0, told.text
    chapters = re.findall(r"^[A-Z][A-Z ]+(?=  )", told.text, re.MULTILINE)
    assert chapters == [
        "STARTING",
        "IN SERVICE",
        "A DEPENDENCY FAILS",
        "AN OPERATOR DRAINS IT",
        "SIGTERM",
    ]
    assert re.search(r"503  database: timed out after 0\.8 s", told.text)
    assert re.search(r"✓ \d+ requests, \d+ of them to the service: 0 lost\n$", told.text)
    assert "\x1b" not in told.text
    assert not runs(told.server())
    assert list(tmp_path.glob("probekit-demo-*")) == []


def test_a_broken_database_is_not_as_told(tmp_path: Path) -> None:
    """A service that never starts fails the demo, which shows what the server has to say."""
    nowhere = tmp_path / "missing" / "orders.db"
    with demo(tmp_path, "--database", str(nowhere)) as told:
        status = told.process.wait(PATIENCE)
    assert status == 1, told.text
    assert "✗ GET /startupz is not as it should be after 8 s: it answers 503" in told.text
    assert "unable to open database file" in told.text
    assert "0 lost" not in told.text
    assert not runs(told.server())


def test_a_server_that_dies_is_not_as_told(tmp_path: Path) -> None:
    """A server that is killed in the middle fails the demo, which says so."""
    with demo(tmp_path) as told:
        told.wait_for("IN SERVICE")
        os.kill(told.server(), signal.SIGKILL)
        status = told.process.wait(PATIENCE)
    assert status == 1, told.text
    assert "✗ the server has ended with status -9" in told.text
    assert "The server said" in told.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends the server and removes the files."""
    with demo(tmp_path) as told:
        told.wait_for("IN SERVICE")
        told.process.send_signal(number)
        status = told.process.wait(PATIENCE)
    assert status == 130, told.text
    assert not runs(told.server())
    assert list(tmp_path.glob("probekit-demo-*")) == []


def test_nobody_listens_any_more(tmp_path: Path) -> None:
    """A reader that goes away, as `head` does, ends the demo and its server without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.fastapi_app.demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"probekit demo")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1
    assert list(tmp_path.glob("probekit-demo-*")) == []
