"""The end of what `Probes.start` began, for a framework that waits for a function of ours."""

from __future__ import annotations

import threading

import anyio
import pytest
from anyio import to_thread

from tests.full_pool import full_pool
from tests.waiting import free_port
from tests.web._asking import make_probes

from ._asking import listens

LOCAL = "127.0.0.1"


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["here", "on probekit's own loop"])
async def test_aclose_returns_when_all_has_ended(where: str) -> None:
    """A loop that ends just then loses nothing: the port is free, and the job is given back."""
    probes, port = make_probes(linger=0), free_port()
    back: list[str] = []
    ran = threading.Event()
    probes.readiness(ran.set, name="check", interval=0.05, timeout=0.05, initial_delay=0)
    if where == "here":
        serving = probes.start(host=LOCAL, port=port)
    else:
        serving = await to_thread.run_sync(lambda: probes.start(host=LOCAL, port=port))

    async def take(job: str) -> None:
        await anyio.sleep(0.05)
        back.append(job)

    with anyio.fail_after(15):
        while not ran.is_set():
            await anyio.sleep(0.01)
        unfinished = probes.work("a", on_abandon=take).__enter__()
        await serving.aclose()
    assert (unfinished.abandoned, back) == (True, ["a"])
    assert not listens(port)
    assert (probes.service.phase, probes.service.engine.stopped) == ("idle", True)
    await serving.aclose()  # once more is no news


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_aclose_is_complete_where_the_loop_ends_right_after(backend: str) -> None:
    """As that of a framework does which calls a function at the end, and then closes its loop."""
    probes, port = make_probes(linger=0), free_port()
    back: list[str] = []

    async def take(job: str) -> None:
        await anyio.sleep(0.05)
        back.append(job)

    async def main() -> None:
        serving = probes.start(host=LOCAL, port=port)
        unfinished.append(probes.work("a", on_abandon=take).__enter__())
        await serving.aclose()

    unfinished: list[object] = []
    anyio.run(main, backend=backend)
    assert back == ["a"]
    assert not listens(port)
    assert probes.service.listeners == []


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["here", "on probekit's own loop"])
async def test_aclose_waits_for_no_thread_of_the_applications_pool(where: str) -> None:
    """Sync functions that hang may have taken up all of them, and it promises a time."""
    probes, port = make_probes(linger=0), free_port()
    if where == "here":
        serving = probes.start(host=LOCAL, port=port)
    else:
        serving = await to_thread.run_sync(lambda: probes.start(host=LOCAL, port=port))
    async with full_pool() as is_full:
        await serving.aclose()
        assert is_full()
    assert not listens(port)
