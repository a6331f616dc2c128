"""What starts and stops with the application, and who says so to the server."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from starlette.applications import Starlette

from probekit import ConfigurationError, Probe, Unhealthy
from probekit.asgi import ProbeMiddleware, probe_app
from tests.waiting import until
from tests.web._asking import HeldClock, ask, call, make_probes

from ._apps import LifespanRun, hello, ticking

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from probekit._web.asgi_types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.anyio

WHOLE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("door", ["middleware", "app"])
async def test_background_checks_live_as_long_as_the_application(door: str) -> None:
    """None before the startup is complete, none once the shutdown is told to the application."""
    probes = make_probes()
    ran = ticking(probes)
    app: ASGIApp = (
        ProbeMiddleware(hello, probes=probes) if door == "middleware" else probe_app(probes)
    )
    at_message: dict[str, int] = {}

    async def while_up() -> None:
        assert probes.loop_lag >= 0
        await until(lambda: len(ran) >= 2)

    run = await LifespanRun(app).run(
        while_up, on_send=lambda kind: at_message.setdefault(kind, len(ran))
    )
    assert run.sent == WHOLE
    assert run.error is None
    assert at_message["lifespan.startup.complete"] == 0
    assert at_message["lifespan.shutdown.complete"] == len(ran)
    await anyio.sleep(0.1)
    assert at_message["lifespan.shutdown.complete"] == len(ran)
    assert probes.sigterm.startswith(("off", "not armed"))


async def test_the_same_probes_can_live_again() -> None:
    """One lifespan after the other, as tests do, each with its background checks."""
    probes = make_probes()
    ran = ticking(probes)
    app = ProbeMiddleware(hello, probes=probes)
    for _ in range(3):
        ran.clear()
        run = await LifespanRun(app).run(lambda: until(lambda: bool(ran)))
        assert (run.sent, run.error) == (WHOLE, None)


async def asserts(scope: Scope, receive: Receive, send: Send) -> None:
    """Know HTTP only, and say so by assertion."""
    assert scope["type"] == "http"
    await hello(scope, receive, send)


async def looks_up(scope: Scope, receive: Receive, send: Send) -> None:
    """Know HTTP only, and stumble over what is missing."""
    scope["path"]
    await hello(scope, receive, send)


async def ignores(scope: Scope, receive: Receive, send: Send) -> None:
    """Return at once from what it does not know."""
    if scope["type"] == "http":
        await hello(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "error"), [(asserts, AssertionError), (looks_up, KeyError), (ignores, None)]
)
async def test_an_application_without_a_lifespan_works(
    app: ASGIApp, error: type[Exception] | None
) -> None:
    """Its error reaches the server as it is; its checks run when the first probe asks."""
    probes = make_probes()
    ran = ticking(probes)
    middleware = ProbeMiddleware(app, probes=probes)
    expectation = nullcontext() if error is None else pytest.raises(error)
    with expectation:
        await call(middleware, {"type": "lifespan"}, [{"type": "lifespan.startup"}])
    await ask(middleware, "/readyz")
    await until(lambda: bool(ran))
    assert (await ask(middleware, "/readyz")).status == 200
    assert (await ask(middleware, "/")).body == b"hello"
    await probes.service.stopped()


async def test_a_startup_that_fails_leaves_nothing_running() -> None:
    """The server hears it from the application, and the Probes can live again."""
    probes = make_probes()
    ran = ticking(probes)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    run = await LifespanRun(ProbeMiddleware(app, probes=probes)).run()
    assert run.messages == [{"type": "lifespan.startup.failed", "message": "no database"}]
    await anyio.sleep(0.05)
    assert ran == []
    again = await LifespanRun(ProbeMiddleware(hello, probes=probes)).run()
    assert again.sent == WHOLE


async def test_a_shutdown_that_fails_is_told_and_leaves_nothing_running() -> None:
    """The message of the application's goes through, and the background checks are stopped."""
    probes = make_probes()
    ran = ticking(probes)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "no time"})

    run = await LifespanRun(ProbeMiddleware(app, probes=probes)).run()
    assert run.messages[1:] == [{"type": "lifespan.shutdown.failed", "message": "no time"}]
    before = len(ran)
    await anyio.sleep(0.05)
    assert len(ran) == before


@pytest.mark.parametrize("moment", ["before startup", "after startup"])
async def test_an_application_that_dies_in_its_lifespan_leaves_nothing_running(
    moment: str,
) -> None:
    """Its own error reaches the server, and the background checks are stopped."""
    probes = make_probes()
    ran = ticking(probes)
    error = RuntimeError("the application's own")

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if moment == "after startup":
            await send({"type": "lifespan.startup.complete"})
            await receive()
        raise error

    run = await LifespanRun(ProbeMiddleware(app, probes=probes)).run()
    assert run.error is error
    before = len(ran)
    await anyio.sleep(0.05)
    assert len(ran) == before
    assert (await LifespanRun(ProbeMiddleware(hello, probes=probes)).run()).sent == WHOLE


async def test_two_lifespans_at_once_fail_the_startup_with_a_reason() -> None:
    """``probes.lifespan()`` beside the middleware is refused so that the server logs it."""
    probes = make_probes()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with probes.lifespan():
            yield

    run = await LifespanRun(ProbeMiddleware(Starlette(lifespan=lifespan), probes=probes)).run()
    assert run.sent == ["lifespan.startup.failed"]
    assert "leave `async with probes.lifespan()` out" in run.messages[0]["message"]
    assert isinstance(run.error, ConfigurationError)


async def test_a_second_application_with_the_same_probes_fails_to_start() -> None:
    """Its server is told why, and the first one goes on."""
    probes = make_probes()
    ran = ticking(probes)
    second: list[LifespanRun] = []

    async def while_up() -> None:
        second.append(await LifespanRun(ProbeMiddleware(hello, probes=probes)).run())
        ran.clear()
        await until(lambda: bool(ran))

    first = await LifespanRun(ProbeMiddleware(hello, probes=probes)).run(while_up)
    assert first.sent == WHOLE
    assert second[0].sent == ["lifespan.startup.failed"]
    assert isinstance(second[0].error, ConfigurationError)
    assert "give each application a Probes of its own" in second[0].messages[0]["message"]


async def test_two_applications_with_probes_of_their_own_live_side_by_side() -> None:
    """Each runs its own background checks, whichever ends first."""
    first, second = make_probes(), make_probes()
    first_ran, second_ran = ticking(first), ticking(second)

    async def inner() -> None:
        await until(lambda: bool(second_ran))

    async def outer() -> None:
        run = await LifespanRun(ProbeMiddleware(hello, probes=second)).run(inner)
        assert run.sent == WHOLE
        first_ran.clear()
        await until(lambda: bool(first_ran))

    run = await LifespanRun(ProbeMiddleware(hello, probes=first)).run(outer)
    assert run.sent == WHOLE


async def test_an_own_lifespan_serves_routes_without_a_middleware() -> None:
    """``async with probes.lifespan()`` does what the middleware does, also after an error."""
    probes = make_probes()
    ran = ticking(probes)

    async def fail() -> None:
        async with probes.lifespan():
            await until(lambda: bool(ran))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with probes.lifespan():
        with pytest.raises(ConfigurationError, match="is served already"):
            async with probes.lifespan():
                raise AssertionError("never reached")


# -- the phases and what readiness says of them -------------------------------------------------


async def test_an_application_that_starts_is_alive_and_not_ready() -> None:
    """Until the startup is complete /readyz and /startupz fail and say why."""
    probes = make_probes()
    answers: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def forward() -> Any:
            message = await receive()
            if message["type"] == "lifespan.startup":
                for path in ("/healthz", "/readyz", "/startupz"):
                    answers[path] = await ask(middleware, path)
            return message

        await hello(scope, forward, send)

    middleware = ProbeMiddleware(app, probes=probes)

    async def while_up() -> None:
        for path in ("/healthz", "/readyz", "/startupz"):
            assert (await ask(middleware, path)).status == 200

    assert (await LifespanRun(middleware).run(while_up)).sent == WHOLE
    assert [answer.status for answer in answers.values()] == [200, 503, 503]
    assert answers["/readyz"].json() == {
        "status": "unhealthy",
        "probe": "readiness",
        "message": "the application has not started",
        "draining": None,
        "checks": {},
    }


async def test_readiness_waits_for_the_startup_checks_and_asks_them_itself() -> None:
    """A load balancer that asks /readyz alone is not left waiting; once passed, never again."""
    probes = make_probes(HeldClock())
    runs = 0

    @probes.startup(max_age=0)
    async def migrations() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise Unhealthy("42 to go")

    @probes.startup(critical=False)
    async def warm_cache() -> None:
        raise Unhealthy("cold")

    app = probe_app(probes)
    waiting = await ask(app, "/readyz")
    assert waiting.status == 503
    assert waiting.json()["message"] == "startup has not passed: migrations"
    assert (await ask(app, "/readyz", query=b"verbose")).text.splitlines()[0] == (
        "[-]startup has not passed: migrations"
    )
    passed = [(await ask(app, path)).status for path in ("/readyz", "/startupz", "/readyz")]
    assert passed == [200, 200, 200]
    assert runs == 3
    assert (await ask(app, "/startupz")).json()["status"] == "degraded"


@pytest.mark.parametrize("probe", list(Probe))
async def test_an_empty_set_passes(probe: Probe) -> None:
    """Without checks each probe passes, in an answer and in a look without running anything."""
    probes = make_probes()
    assert (await probes.report(probe)).passing
    assert probes.peek(probe).passing


async def test_a_look_runs_nothing() -> None:
    """What is known already, drain and all, without a run."""
    probes = make_probes()
    ran = 0

    @probes.readiness
    async def database() -> None:
        nonlocal ran
        ran += 1

    probes.drain()
    report = probes.peek()
    assert (report.passing, report.message, ran) == (False, "draining", 0)


async def test_a_lifespan_message_of_the_future_goes_through() -> None:
    """What the protocol may bring one day is the application's to understand."""
    seen: list[str] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.append((await receive())["type"])

    middleware = ProbeMiddleware(app, probes=make_probes())
    await call(middleware, {"type": "lifespan"}, [{"type": "lifespan.reload"}])
    assert seen == ["lifespan.reload"]


async def hears_and_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Notice what it does not know only after it was told."""
    message = await receive()
    if message["type"].startswith("lifespan."):
        raise AssertionError("HTTP only")
    await hello(scope, receive, send)


async def test_who_fails_the_lifespan_and_serves_on_lives_from_the_first_request() -> None:
    """Some servers take that for an application without a lifespan."""
    probes = make_probes()
    ran = ticking(probes)
    app = ProbeMiddleware(hears_and_raises, probes=probes)
    run = await LifespanRun(app).run()
    assert isinstance(run.error, AssertionError)
    await ask(app, "/readyz")
    with anyio.move_on_after(0.3):
        await until(lambda: len(ran) >= 2)
    await probes.service.stopped()
    assert len(ran) >= 2
