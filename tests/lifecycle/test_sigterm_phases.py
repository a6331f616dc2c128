"""From when to when SIGTERM drains first: a lifespan, or the first request where there is none."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from probekit.asgi import ProbeMiddleware, probe_app
from probekit.starlette import routes
from tests.doors._apps import LifespanRun, hello
from tests.web._asking import ask, call, make_probes, scope_of

from ._signals import DELAY, StandIn, sigterm

if TYPE_CHECKING:
    from probekit import Probes
    from probekit._web.asgi_types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.anyio

DOORS = ["middleware", "app", "routes"]
NOT_YET = "not armed: the application has not started"
ENDED = "not armed: the lifespan has ended"


def behind(door: str, probes: Probes) -> ASGIApp:
    """Return an application that answers ``probes`` by this door."""
    if door == "middleware":
        return ProbeMiddleware(hello, probes=probes)
    return probe_app(probes) if door == "app" else Starlette(routes=routes(probes))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz"])
async def test_without_a_lifespan_the_first_probe_is_the_start(
    path: str, door: str, server: StandIn
) -> None:
    """From then on SIGTERM drains first, by whichever door and for whichever probe."""
    probes = make_probes(drain_delay=30)
    app = behind(door, probes)
    assert probes.sigterm == NOT_YET
    assert signal.getsignal(signal.SIGTERM) == server.handle
    for _ in range(3):
        await ask(app, path)
        assert probes.sigterm == "armed"
    sigterm()
    assert (await ask(app, "/readyz")).status == 503
    assert server.signals == []
    await probes.service.stopped()
    assert signal.getsignal(signal.SIGTERM) == server.handle


async def test_without_a_lifespan_the_first_ordinary_request_is_the_start(server: StandIn) -> None:
    """Who has served anybody has somebody to lose, though no prober has asked."""
    probes = make_probes(drain_delay=30)
    app = behind("middleware", probes)
    for _ in range(3):
        assert (await ask(app, "/")).status == 200
        assert probes.sigterm == "armed"
    sigterm()
    assert (await ask(app, "/readyz")).status == 503
    assert (await ask(app, "/")).status == 200
    assert server.signals == []
    await probes.service.stopped()
    assert signal.getsignal(signal.SIGTERM) == server.handle


async def test_without_a_lifespan_the_first_websocket_is_the_start(server: StandIn) -> None:
    """It is the longest-lived of what a server that just goes would cut."""
    probes = make_probes(drain_delay=30)
    app = behind("middleware", probes)
    await call(app, {**scope_of("/"), "type": "websocket"}, [])
    assert probes.sigterm == "armed"
    sigterm()
    assert server.signals == []
    await probes.service.stopped()


async def test_what_serves_nobody_is_no_start(server: StandIn) -> None:
    """Neither a look at the drain, nor a refused request."""
    probes = make_probes(drain_delay=DELAY)
    app = ProbeMiddleware(hello, probes=probes, allow=["127.0.0.1"])
    codes = [
        (await ask(app, "/admin/drain")).status,
        (await ask(app, "/readyz", "POST")).status,
        (await ask(app, "/readyz", client=("203.0.113.7", 1))).status,
    ]
    assert codes == [200, 405, 404]
    assert probes.sigterm == NOT_YET
    assert signal.getsignal(signal.SIGTERM) == server.handle
    sigterm()
    assert len(server.signals) == 1
    assert probes.draining is None


async def test_a_lifespan_after_the_first_probe_takes_over(server: StandIn) -> None:
    """A probe that came before it is no obstacle, and its end is the end."""
    probes = make_probes(drain_delay=DELAY)
    app = behind("routes", probes)
    await ask(app, "/readyz")
    async with probes.lifespan():
        assert (await ask(app, "/readyz")).status == 200
        assert probes.sigterm == "armed"
    assert probes.sigterm == ENDED
    assert signal.getsignal(signal.SIGTERM) == server.handle


async def test_it_stands_by_from_the_end_of_the_startup_to_the_shutdown(server: StandIn) -> None:
    """Who is killed in its startup or shutdown is not kept waiting, though probes come in."""
    probes = make_probes(drain_delay=30)
    seen: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await ask(middleware, "/readyz")
        seen["startup"] = probes.sigterm
        await send({"type": "lifespan.startup.complete"})
        seen["up"] = probes.sigterm
        await receive()
        seen["shutdown"] = probes.sigterm
        sigterm()
        await send({"type": "lifespan.shutdown.complete"})

    middleware = ProbeMiddleware(app, probes=probes)
    run = await LifespanRun(middleware).run()
    assert run.error is None
    assert seen == {"startup": NOT_YET, "up": "armed", "shutdown": ENDED}
    assert len(server.signals) == 1
    assert probes.draining is None
