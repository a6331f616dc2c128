"""What every test stands on: three event loops, and no blocking call on any of them."""

from __future__ import annotations

import signal
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


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run an async test on asyncio, uvloop and trio."""
    return request.param


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test in which probekit makes a blocking call on the event loop."""
    with blockbuster_ctx("probekit") as blocked:
        # Once, before the application is in service, and from a file that lies in memory.
        blocked.functions["io.TextIOWrapper.read"].can_block_in(
            "probekit/_lifecycle/below.py", {"is_caught"}
        )
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
