"""Where the server tells of no lifespan, the first probe is the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from probekit.asgi import ProbeMiddleware, probe_app
from probekit.starlette import routes
from tests.web._asking import HeldClock, ask, make_probes

from ._apps import hello, ticking, until

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


async def test_a_request_that_is_no_probe_begins_nothing() -> None:
    """The application's own traffic starts no check."""
    probes = make_probes()
    ran = ticking(probes)
    await ask(ProbeMiddleware(hello, probes=probes), "/")
    await anyio.sleep(0.05)
    assert ran == []
