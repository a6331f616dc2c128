"""``python -m probekit`` as a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.waiting import free_port

from ._peers import Peer, answer, drain, state

COMMAND = [sys.executable, "-m", "probekit"]


def test_exit_code() -> None:
    """The process exits with what the command says, and calls itself by the command's name."""
    command = [*COMMAND, "status", "--url", f"http://127.0.0.1:{free_port()}"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("probekit status: nobody listens at ")


def test_importing_it_runs_nothing() -> None:
    """Tools that import every module get a module."""
    code = "import probekit.__main__ as m; print(m.main.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "main\n"


LOADED = """
import sys
import probekit
before = set(sys.modules)
import probekit.cli
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_loads_the_standard_library_only() -> None:
    """A preStop hook waits for it, so it brings nothing that takes long."""
    command = [sys.executable, "-I", "-c", LOADED]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    loaded = set(done.stdout.split())
    assert loaded - set(sys.stdlib_module_names) == {"probekit"}
    assert not loaded & {"asyncio", "importlib", "logging", "subprocess", "unittest"}


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">/dev/full"])
def test_nobody_reads(closed: str) -> None:
    """Where the output goes has no say in the exit code."""
    with Peer(answer("200 OK", state(draining=drain()))) as peer:
        line = f'"$@" {closed}'
        command = ["sh", "-c", line, "sh", *COMMAND, "status", "--url", peer.url]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 1


def test_the_reader_has_gone() -> None:
    """``probekit status | true`` is no error."""
    with Peer(answer("200 OK", state())) as peer:
        command = [*COMMAND, "status", "--url", peer.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0


def test_a_terminal_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot show is escaped."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with Peer(answer("200 OK", state(draining=drain(by="J\u00f6rg")))) as peer:
        command = [*COMMAND, "status", "--url", peer.url]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert "  by: J\\xf6rg\n" in done.stdout
    assert done.stderr == ""
