"""Where the server tells of no lifespan, the first request is the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from probekit.asgi import ProbeMiddleware, probe_app
from probekit.starlette import routes
from tests.waiting import until
from tests.web._asking import HeldClock, ask, make_probes

from ._apps import hello, ticking

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes
    from probekit.asgi import ASGIApp

pytestmark = pytest.mark.anyio

DOORS: list[Callable[[Probes], ASGIApp]] = [
    lambda probes: ProbeMiddleware(hello, probes=probes),
    probe_app,
    lambda probes: Starlette(routes=routes(probes)),
    lambda probes: Starlette(routes=[Mount("/", probe_app(probes))]),
]


@pytest.mark.parametrize("door", DOORS, ids=["middleware", "app", "routes", "mounted"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz"])
async def test_the_first_probe_begins_the_background_checks(
    path: str, door: Callable[[Probes], ASGIApp]
) -> None:
    """Those of every probe, whichever is asked, and once, however often it is asked."""
    clock = HeldClock()
    probes = make_probes(clock)
    ran = ticking(probes)
    app = door(probes)
    await anyio.sleep(0.05)
    assert ran == []
    assert probes.loop_lag == 0.0
    await ask(app, path)
    await until(lambda: len(ran) >= 2)
    clock.now += 10
    lag = probes.loop_lag
    assert 9 < lag < 10  # the loop is watched, too
    await ask(app, path)
    assert probes.loop_lag == lag
    await probes.service.stopped()
    assert probes.loop_lag == 0.0
    ran.clear()
    await anyio.sleep(0.05)
    assert ran == []


async def test_the_first_ordinary_request_begins_the_background_checks() -> None:
    """The application has started when it serves, whether or not anybody asks how it is."""
    probes = make_probes()
    ran = ticking(probes)
    app = ProbeMiddleware(hello, probes=probes)
    assert (await ask(app, "/")).status == 200
    await until(lambda: len(ran) >= 2)
    await probes.service.stopped()
    ran.clear()
    await anyio.sleep(0.05)
    assert ran == []


async def test_an_ordinary_request_begins_nothing_anew_after_the_end() -> None:
    """What comes late, while the server closes, starts no check that nobody would stop."""
    probes = make_probes()
    ran = ticking(probes)
    app = ProbeMiddleware(hello, probes=probes)
    async with probes.lifespan():
        await until(lambda: bool(ran))
    ran.clear()
    assert (await ask(app, "/")).status == 200
    await anyio.sleep(0.05)
    assert ran == []


async def test_what_serves_nobody_begins_nothing() -> None:
    """A look at the drain starts no check."""
    probes = make_probes()
    ran = ticking(probes)
    assert (await ask(ProbeMiddleware(hello, probes=probes), "/admin/drain")).status == 200
    await anyio.sleep(0.05)
    assert ran == []
