"""A worker knows whether it is ready although no prober has met it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Degraded, Unhealthy
from probekit.asgi import probe_app
from tests.waiting import until
from tests.web._asking import HeldClock, ask, make_probes

from ._twins import twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

    Making = Callable[..., Probes]

pytestmark = pytest.mark.anyio

ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Dependency:
    """Something to check.

    Attributes:
        runs: How often it was asked.
        trouble: What the next runs raise.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.trouble: Exception | None = None

    async def __call__(self) -> None:
        self.runs += 1
        if self.trouble is not None:
            raise self.trouble


async def shown(probes: Probes) -> Any:
    """Return what the worker says of itself."""
    return (await ask(probe_app(probes), "/admin/drain")).json()["workers"][0]["ready"]


# -- what is known --------------------------------------------------------------------------------


@ASYNCIO
async def test_who_was_never_asked_does_not_know() -> None:
    """Null is neither ready nor not, and ends with the first answer; alone, nobody asks itself."""
    probes, dependency = make_probes(), Dependency()
    probes.readiness(dependency, name="database", max_age=0)
    async with probes.lifespan():
        probes.service._keep()
        await anyio.sleep(0.05)
        assert (await shown(probes), dependency.runs) == (None, 0)
        await ask(probe_app(probes), "/readyz")
        assert await shown(probes) is True
        dependency.trouble = Unhealthy("gone")
        await ask(probe_app(probes), "/readyz")
        assert await shown(probes) is False


@ASYNCIO
async def test_a_drain_is_known_without_asking() -> None:
    """Whatever the checks would say, it is not ready."""
    probes = make_probes()
    probes.readiness(Dependency(), name="database")
    probes.drain()
    assert await shown(probes) is False
    probes.undrain()
    assert await shown(probes) is None


@ASYNCIO
async def test_one_failure_is_enough_to_know() -> None:
    """What the others would say changes nothing any more."""
    probes, dependency = make_probes(), Dependency()
    dependency.trouble = Unhealthy("gone")
    probes.readiness(dependency, name="database")
    probes.readiness(Dependency(), name="cache")
    await ask(probe_app(probes), "/readyz/database")
    assert await shown(probes) is False


@ASYNCIO
async def test_what_is_not_critical_need_not_be_known() -> None:
    """It takes nothing out of service, so it is not waited for."""
    probes = make_probes()
    probes.readiness(Dependency(), name="balance", critical=False)
    assert await shown(probes) is True


@ASYNCIO
async def test_startup_is_part_of_it() -> None:
    """Readiness fails while startup has not passed; whether it has is not known until it ran."""
    probes, dependency = make_probes(), Dependency()
    probes.startup(dependency, name="warm", max_age=0)
    assert await shown(probes) is None
    dependency.trouble = Unhealthy("cold")
    await ask(probe_app(probes), "/startupz")
    assert await shown(probes) is False
    dependency.trouble = None
    await ask(probe_app(probes), "/startupz")
    assert await shown(probes) is True


@ASYNCIO
async def test_a_result_that_is_too_old_is_one() -> None:
    """What was known once is not about to be known for the first time."""
    clock = HeldClock()
    probes, dependency = make_probes(clock), Dependency()
    probes.readiness(dependency, name="rates", max_age=0, on_error="keep", stale_after=10)
    probes.readiness(Dependency(), name="cache")
    await ask(probe_app(probes), "/readyz/rates")
    dependency.trouble = ConnectionError()
    await ask(probe_app(probes), "/readyz/rates")
    assert await shown(probes) is None
    clock.now += 11
    assert await shown(probes) is False


# -- to ask itself --------------------------------------------------------------------------------


def lines(watcher: Probes) -> list[bool | None]:
    """Return what another worker reads of whether the first one is ready."""
    return [found.ready for found in watcher.service.pod.workers()]


async def test_others_see_a_worker_ready_that_nobody_asked(shared: Making) -> None:
    """It asks itself when it has started, once."""
    one, other = twins(shared)
    assert lines(other) == []
    dependency = Dependency()
    one.readiness(dependency, name="database", max_age=0)
    one.startup(Dependency(), name="warm")
    async with one.lifespan():
        await until(lambda: lines(other) == [True])
        one.service.inquiry._due = 0.0
        one.service.inquiry.keep()
        await anyio.sleep(0.05)
    assert dependency.runs == 1


@ASYNCIO
async def test_a_worker_that_is_not_ready_asks_itself_again(shared: Making) -> None:
    """Every 5 s, and only for what failed; so an outage that is over leaves nothing behind."""
    clock = HeldClock()
    one, other = twins(shared, clock=clock)
    assert lines(other) == []
    dependency, good = Dependency(), Dependency()
    dependency.trouble = ConnectionError()
    one.readiness(dependency, name="database", max_age=0)
    one.readiness(good, name="cache", max_age=0)
    async with one.lifespan():
        await until(lambda: lines(other) == [None])
        clock.now += 2
        await until(lambda: lines(other) == [False])
        dependency.trouble = None
        clock.now += 4.9
        one.service.inquiry.keep()
        await anyio.sleep(0.05)
        assert dependency.runs == 1
        clock.now += 0.2
        await until(lambda: lines(other) == [True])
    assert (dependency.runs, good.runs) == (2, 1)


@ASYNCIO
async def test_nobody_asks_in_a_drain(shared: Making) -> None:
    """The checks are not what it is about."""
    one = shared()
    assert lines(one) == []
    dependency = Dependency()
    one.readiness(dependency, name="database", max_age=0)
    one.drain()
    async with one.lifespan():
        await until(lambda: lines(one))
        one.service.inquiry.keep()
        await anyio.sleep(0.05)
    assert dependency.runs == 0


@ASYNCIO
async def test_nobody_asks_when_the_application_has_ended(shared: Making) -> None:
    """What it would ask has been closed: a question that was on its way is dropped."""
    one = shared()
    assert lines(one) == []
    dependency = Dependency()
    one.readiness(dependency, name="database", max_age=0)
    async with one.lifespan():
        inquiry = one.service.inquiry
        await until(lambda: dependency.runs)
    await inquiry._ask()
    assert dependency.runs == 1


@ASYNCIO
async def test_what_is_degraded_is_ready(shared: Making) -> None:
    """It is not asked about."""
    one, other = twins(shared)
    assert lines(other) == []
    dependency = Dependency()
    dependency.trouble = Degraded("slow")
    one.readiness(dependency, name="database", max_age=0)
    async with one.lifespan():
        await until(lambda: lines(other) == [True])
        one.service.inquiry._due = 0.0
        one.service.inquiry.keep()
        await anyio.sleep(0.05)
    assert dependency.runs == 1
