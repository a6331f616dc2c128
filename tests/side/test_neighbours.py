"""Who else listens on a side port that workers share."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from probekit._web.http1 import bind
from probekit._web.neighbours import descends, strangers
from probekit._web.side import Side
from tests.web._asking import make_probes

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

LOCAL = "127.0.0.1"
NOBODY = 2**22 + 1
"""No process has this id: it is beyond the largest that Linux gives."""

LISTENS = """
import socket, sys
where = (sys.argv[1], int(sys.argv[2]))
family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
with socket.create_server(where, family=family, reuse_port=True):
    print("listens", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(port: int, host: str = LOCAL) -> Generator[int]:
    """Listen there in a child of this process; yield its id."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS, host, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield process.pid


@pytest.fixture
def shared() -> Generator[socket.socket]:
    """A port that this process listens on and would share."""
    with bind(LOCAL, 0, shared=True) as sock:
        yield sock


def test_who_listens_alone_has_no_neighbours(shared: socket.socket) -> None:
    """Its own socket, which a child may have inherited, is nobody else's."""
    assert strangers(shared.getsockname()[1], master=NOBODY) == []


@pytest.mark.parametrize("host", [LOCAL, "0.0.0.0", "::1"])
def test_another_process_is_a_stranger_unless_the_master_has_started_it(
    shared: socket.socket, host: str
) -> None:
    """On whichever address; and the master may be one itself, or a forefather."""
    port = shared.getsockname()[1]
    with another(port, host) as pid:
        assert strangers(port, master=NOBODY) == [pid]
        for relative in (pid, os.getpid(), os.getppid()):
            assert strangers(port, master=relative) == []
    assert strangers(port, master=NOBODY) == []


def test_who_is_gone_descends_from_nobody() -> None:
    """It may end between two looks."""
    assert not descends(NOBODY, os.getpid())


@pytest.mark.parametrize("scope", ["pod", "container"])
def test_a_side_port_that_another_server_answers_is_told_of(
    scope: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It listens all the same; all of a container belong together if the operator says so."""
    monkeypatch.setattr("probekit._web.side.master_pid", lambda: NOBODY)
    probes = make_probes()
    monkeypatch.setattr(type(probes.service.pod), "scope", scope)
    with bind(LOCAL, 0, shared=True) as other:
        port = other.getsockname()[1]
        with another(port) as pid:
            other.close()
            side = Side(probes.service, {}, host=LOCAL, port=port, lends_loop=False)
            side.listen()
            side.close()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    if scope == "container":
        assert told == []
    else:
        (message,) = told
        assert message.startswith(f"side_port {port} is answered by process {pid} as well, which ")
        assert message.endswith(f"or end the other (`ps -fp {pid}` shows it)")
