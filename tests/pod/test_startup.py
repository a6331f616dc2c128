"""Startup is the pod's: once it has passed in one worker, it has in all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit import Unhealthy
from probekit.asgi import probe_app
from tests.web._asking import ask

from ._twins import twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

    Making = Callable[..., Probes]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_a_worker_that_is_started_anew_does_not_fail_the_startup_probe(
    shared: Making,
) -> None:
    """The platform has seen it pass, and would kill the whole pod; readiness stays its own."""
    one, late = twins(shared)

    @late.startup(max_age=0)
    async def warm() -> None:
        raise Unhealthy("cold")

    assert (await ask(probe_app(late), "/startupz")).status == 503
    assert (await ask(probe_app(one), "/startupz")).status == 200
    answer = await ask(probe_app(late), "/startupz")
    assert (answer.status, answer.json()["message"]) == (
        200,
        "it has passed in another worker of this server",
    )
    assert (await ask(probe_app(late), "/readyz")).status == 503


async def test_a_note_that_cannot_be_made_fails_nothing(
    shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in its way is logged once."""
    probes = shared()
    app = probe_app(probes)
    pod = probes.service.pod
    assert pod.scope == "pod"
    assert pod.path is not None
    blocked = Path(pod.path) / f"{pod._prefix}.started"
    blocked.mkdir()
    pod._started = False
    assert (await ask(app, "/startupz")).status == 200
    blocked.rmdir()
    assert len(caplog.records) <= 1


async def test_a_startup_that_has_passed_is_looked_up_no_more(shared: Making) -> None:
    """The file is written once, and asked for no longer."""
    probes = shared()
    app = probe_app(probes)
    for _ in range(3):
        assert (await ask(app, "/startupz")).status == 200
    pod = probes.service.pod
    assert pod.path is not None
    (Path(pod.path) / f"{pod._prefix}.started").unlink()
    assert pod.has_started()
