"""``drain_until="quiet"``: the signal is handed over by evidence, in this process."""

from __future__ import annotations

import logging
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from starlette.applications import Starlette

from probekit import DrainStep
from probekit.asgi import ProbeMiddleware
from probekit.starlette import routes
from tests.doors._apps import hello
from tests.waiting import until
from tests.web._asking import ask, make_probes

from ._signals import StandIn, sigterm

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from probekit.asgi import ASGIApp

pytestmark = pytest.mark.anyio

LONG = 30.0
"""Seconds that no test waits for."""
SOON = 5.0
"""Seconds that anything may take on a busy machine."""


class Leaving:
    """An application that got SIGTERM.

    Attributes:
        app: The application, in the middleware.
        began: When the signal was sent (monotonic seconds).
    """

    def __init__(self, server: StandIn, **options: Any) -> None:
        self._server = server
        self.probes = make_probes(drain_until="quiet", **options)
        self.app: ASGIApp = ProbeMiddleware(hello, probes=self.probes)
        self.began = 0.0

    @asynccontextmanager
    async def leaving(self) -> AsyncGenerator[None]:
        """Send the signal, and clean up in the end."""
        async with self.probes.lifespan():
            self.began = time.monotonic()
            sigterm()
            yield

    @property
    def handed_over(self) -> bool:
        """Whether the server has the signal."""
        return bool(self._server.signals)

    async def seconds(self) -> float:
        """Wait for the hand-over and return how long after the signal it came."""
        await until(lambda: self.handed_over)
        return self._server.signals[0] - self.began

    async def probe(self, times: int = 1, client: str = "10.0.0.1") -> None:
        """Ask for readiness."""
        for _ in range(times):
            assert (await ask(self.app, "/readyz", client=(client, 1))).status == 503

    async def request(self, seconds: float) -> None:
        """Send ordinary requests for so long, closely one after the other."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert (await ask(self.app, "/")).status == 200
            await anyio.sleep(0.01)


def handing_over(caplog: pytest.LogCaptureFixture) -> str:
    """Return the line that tells of the hand-over."""
    [line] = [record.getMessage() for record in caplog.records if "handing" in record.getMessage()]
    return line


async def test_as_soon_as_a_prober_knows_and_it_is_quiet(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Long before the delay; the log says what it waited for and when the last request came."""
    caplog.set_level(logging.INFO, "probekit")
    app = Leaving(server, drain_delay=LONG, drain_max=LONG, quiet_for=0.3)
    async with app.leaving():
        await app.request(0.05)
        await app.probe(2)
        assert 0.3 <= await app.seconds() < SOON
    assert "once a prober has seen 503 2 times or 30 s have passed" in caplog.text
    assert re.search(
        r"SIGTERM: handing the signal to the handler tests\.\S+ after \d\.\d s: a prober has "
        r"seen 503 twice, the last request came 0\.[3-9] s ago; in flight: nothing$",
        handing_over(caplog),
    )


@pytest.mark.parametrize("seen", [[], ["a"], ["a", "b", "c"]], ids=str)
async def test_not_before_a_prober_knows_or_had_the_time_to(
    seen: list[str], server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody probes, or nobody often enough, the delay is kept however quiet it is."""
    app = Leaving(server, drain_delay=0.6, drain_max=LONG, quiet_for=0.05)
    async with app.leaving():
        for client in seen:
            await app.probe(client=client)
        assert not app.probes.service.steps.reached(DrainStep.TOLD)
        assert 0.6 <= await app.seconds() < SOON
    said = "a prober has seen 503 once" if seen else "no prober has seen 503"
    assert f"{said}, no request ever came" in handing_over(caplog)


async def test_as_often_as_the_prober_needs(server: StandIn) -> None:
    """The number is the prober's unhealthy threshold."""
    app = Leaving(server, drain_delay=LONG, drain_max=LONG, quiet_for=0.0, seen_503=4)
    async with app.leaving():
        await app.probe(3)
        await anyio.sleep(0.2)
        assert not app.handed_over
        assert not app.probes.service.steps.reached(DrainStep.TOLD)
        await app.probe()
        assert await app.seconds() < SOON


async def test_not_while_requests_keep_coming(server: StandIn) -> None:
    """The last of them begins the silence; in between everything is served."""
    app = Leaving(server, drain_delay=LONG, drain_max=LONG, quiet_for=0.6)
    async with app.leaving():
        await app.probe(2)
        await app.request(0.9)
        assert not app.handed_over
        assert app.probes.service.steps.reached(DrainStep.TOLD)
        assert not app.probes.service.steps.reached(DrainStep.QUIET)
        last = app.probes.service.traffic.latest
        assert last is not None
        assert await app.seconds() >= last + 0.6 - app.began


async def test_never_later_than_the_limit(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that never let go are cut off in the end; the log shows that they were there."""
    app = Leaving(server, drain_delay=0.1, drain_max=0.8, quiet_for=0.6)
    async with app.leaving():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app.request, LONG)
            assert 0.8 <= await app.seconds() < SOON
            tasks.cancel_scope.cancel()
        assert app.probes.service.steps.reached(DrainStep.HANDED_OVER)
    assert re.search(r"the last request came 0\.[0-5] s ago", handing_over(caplog))


async def test_a_request_in_flight_does_not_hold_the_signal_back(server: StandIn) -> None:
    """The server finishes it; what counts is that no new one comes."""
    app = Leaving(server, drain_delay=0.1, drain_max=LONG, quiet_for=0.2)
    traffic = app.probes.service.traffic
    traffic.requests["slow"] = {"method": "GET", "path": "/slow"}, traffic.clock()
    async with app.leaving():
        assert 0.2 <= await app.seconds() < SOON
        assert not app.probes.service.steps.reached(DrainStep.DONE)


async def test_a_drain_by_hand_before_it_counts(server: StandIn) -> None:
    """Whoever was told then knows; the silence begins with the signal."""
    app = Leaving(server, drain_delay=LONG, drain_max=LONG, quiet_for=0.3)
    app.probes.drain(reason="preStop")
    await app.probe(2)
    async with app.leaving():
        assert 0.3 <= await app.seconds() < SOON


async def test_several_applications_leave_with_the_last_of_them(server: StandIn) -> None:
    """One is quiet at once, the other when its time is up."""
    first = Leaving(server, drain_delay=LONG, drain_max=LONG, quiet_for=0.0, seen_503=1)
    second = Leaving(server, drain_delay=0.5, drain_max=LONG, quiet_for=0.0)
    async with second.probes.lifespan(), first.leaving():
        await first.probe()
        assert 0.5 <= await first.seconds() < SOON
    assert second.probes.draining is not None


async def test_where_nobody_counts_requests_nothing_is_called_quiet(server: StandIn) -> None:
    """Behind routes no request is seen, so the delay is all there is to go by."""
    probes = make_probes(drain_until="quiet", drain_delay=1.0, quiet_for=0.0, seen_503=1)
    app = Starlette(routes=routes(probes))
    async with probes.lifespan():
        began = time.monotonic()
        sigterm()
        await ask(app, "/readyz")
        await until(lambda: bool(server.signals))
    assert server.signals[0] - began >= 1.0
