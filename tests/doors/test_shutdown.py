"""What probekit runs has ended before the application closes what its checks use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from starlette.applications import Starlette

from probekit.asgi import ProbeMiddleware
from probekit.starlette import routes
from tests.waiting import until
from tests.web._asking import ask, make_probes

from ._apps import LifespanRun, ticking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from probekit import Probes
    from probekit.asgi import ASGIApp

pytestmark = pytest.mark.anyio


class Pool:
    """A resource that an application opens and closes, and that a check uses meanwhile.

    Attributes:
        told: What happened to it, in order.
    """

    def __init__(self) -> None:
        self.open = False
        self.told: list[str] = []

    async def ping(self) -> None:
        """Take a moment, and note whether the pool was there before and after."""
        if not self.open:
            self.told.append("met closed")
        try:
            await anyio.sleep(0.04)
            self.told.append("pinged")
        finally:
            self.told.append("left open" if self.open else "left closed")


def pooled(pool: Pool, probes: Probes, *, inside: bool) -> ASGIApp:
    """Return an application around ``pool``, which may enter ``probes.lifespan()`` itself."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        pool.open = True
        if inside:
            async with probes.lifespan():
                yield
        else:
            yield
        pool.told.append("closing")
        await anyio.sleep(0.15)
        pool.open = False
        pool.told.append("closed")

    if inside:
        return Starlette(routes=routes(probes), lifespan=lifespan)
    return ProbeMiddleware(Starlette(lifespan=lifespan), probes=probes)


@pytest.mark.parametrize("inside", [False, True], ids=["middleware", "own lifespan"])
async def test_no_background_check_meets_a_pool_that_is_being_closed(inside: bool) -> None:
    """The shutdown begins when the last run has ended, and nothing runs from then on."""
    pool, probes = Pool(), make_probes()
    probes.readiness(pool.ping, name="pool", interval=0.05, timeout=0.05, initial_delay=0)
    app = pooled(pool, probes, inside=inside)
    run = await LifespanRun(app).run(lambda: until(lambda: pool.told.count("pinged") > 2))
    assert run.error is None
    assert pool.told[-2:] == ["closing", "closed"]
    assert not {"met closed", "left closed"} & set(pool.told)


@pytest.mark.parametrize("inside", [False, True], ids=["middleware", "own lifespan"])
async def test_a_run_under_way_is_ended_before_the_pool_is_closed(inside: bool) -> None:
    """A check that hangs is cancelled, and is done with the pool before anything closes it."""
    pool, probes = Pool(), make_probes()

    @probes.readiness(timeout=0.01)
    async def hung() -> None:
        try:
            pool.told.append("hangs")
            await anyio.sleep_forever()
        finally:
            pool.told.append("left open" if pool.open else "left closed")

    app = pooled(pool, probes, inside=inside)

    async def while_up() -> None:
        assert (await ask(app, "/readyz")).status == 503

    run = await LifespanRun(app).run(while_up)
    assert run.error is None
    assert pool.told == ["hangs", "left open", "closing", "closed"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_probe_during_the_shutdown_starts_nothing_again(path: str) -> None:
    """It is answered, but the application that closes its pool is not to be asked any more."""
    probes = make_probes()
    ran = ticking(probes)
    during: list[int] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        assert (await ask(app, path)).status in {200, 503}
        ran.clear()
        await anyio.sleep(0.1)
        during.append(len(ran))

    app = ProbeMiddleware(Starlette(lifespan=lifespan), probes=probes)
    run = await LifespanRun(app).run(lambda: until(lambda: bool(ran)))
    await probes.service.stopped()
    assert run.error is None
    assert during == [0]
