"""What every test stands on: three event loops, no blocking call on any of them, one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell's background job has SIGINT ignored, and every program that a test starts would inherit
# that: there Ctrl-C must mean what it means in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]

SERVERS = (
    "alive/test_servers.py",
    "docs/test_queues.py",
    "e2e/",
    "examples/test_demo.py",
    "examples/test_worker.py",
    "fleet/test_servers.py",
    "lifecycle/test_hypercorn_event.py",
    "pod/test_workers_e2e.py",
    "side/test_held.py",
    "side/test_servers.py",
    "watchdog/test_servers.py",
    "wsgi/test_example.py",
    "wsgi/test_gevent.py",
    "wsgi/test_pod.py",
    "wsgi/test_servers.py",
)
"""What starts server after server: once in CI is enough, or it would take an hour."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, for ``-m 'not servers'``."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(SERVERS):
            item.add_marker("servers")


# Before any test module is imported, since many make their Probes there; servers inherit it.
os.environ["PROBEKIT_SCOPE"] = "process"

SHARED_STATE = {
    "files.py": {
        *("write", "read", "exists", "remove", "remove_drafts", "changed"),
        *("lock", "is_locked", "bury", "stands"),
    },
    "key.py": {"text_of", "this_machine"},
    "place.py": {"candidates", "check_base", "open_private", "remove_forgotten", "locks"},
    "lines.py": {"stems", "last_beat"},
}
"""The functions that may do `SMALL` things on the loop: the files lie in memory."""
SMALL = [
    *(f"os.{name}" for name in ("listdir", "mkdir", "read", "replace", "rmdir", "stat", "unlink")),
    "os.write",
    "io.BufferedReader.read",
    "io.TextIOWrapper.read",
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run an async test on asyncio, uvloop and trio."""
    return request.param


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """An empty directory for what workers share."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which probekit makes a blocking call on the event loop."""
    with blockbuster_ctx("probekit") as blocked:
        # Once, before the application is in service, and from a file that lies in memory.
        blocked.functions["io.TextIOWrapper.read"].can_block_in(
            "probekit/_lifecycle/below.py", {"is_caught"}
        )
        # Two threads that come to a file for the first time, where coverage notes both.
        blocked.functions["threading.Lock.acquire"].can_block_in(
            "coverage/collector.py", {"lock_data"}
        )
        for name in SMALL:
            for file, functions in SHARED_STATE.items():
                blocked.functions[name].can_block_in(f"probekit/_lifecycle/pod/{file}", functions)
        yield blocked


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Fail a test that leaves a handler of its own for SIGTERM to the next one."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    after = signal.getsignal(signal.SIGTERM)
    if after is not before:
        signal.signal(signal.SIGTERM, before)
    assert after == before
