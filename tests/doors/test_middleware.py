"""`ProbeMiddleware`: answers before the application, counts what it is busy with, marks a drain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Unhealthy
from probekit.asgi import ProbeMiddleware
from tests.web._asking import Answer, HeldClock, ask, call, make_probes, scope_of

from ._apps import hello

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probekit import Probes
    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio

IDLE = {"requests": 0, "websockets": 0, "jobs": 0}
WEBSOCKET: Scope = {"type": "websocket", "path": "/ws", "headers": [], "http_version": "1.1"}


def wrapped(app: ASGIApp, **options: Any) -> tuple[ProbeMiddleware, Probes]:
    """Return ``app`` in the middleware, and its Probes."""
    probes = make_probes(HeldClock())
    return ProbeMiddleware(app, probes=probes, **options), probes


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/readyz", ""),
        ("/readyz/", ""),
        ("/app/readyz", "/app"),  # uvicorn: the path has the root path in it
        ("/readyz", "/app"),  # a proxy stripped it
        ("/app//readyz", "/app/"),
        ("/a/b/readyz/", "/a/b"),
    ],
)
async def test_probes_are_answered_wherever_the_application_lives(
    path: str, root_path: str
) -> None:
    """Under any root path, included or stripped; HTTP/1.0 without Host is as good."""
    app, _ = wrapped(hello)
    answer = await ask(app, path, root_path=root_path, http_version="1.0")
    assert answer.json()["probe"] == "readiness"


@pytest.mark.parametrize("path", ["/", "/readyzz", "/api/readyz", "/app", "/application/readyz"])
async def test_everything_else_is_the_application_s(path: str) -> None:
    """What is no endpoint goes through, with the very same scope and messages."""
    seen: list[tuple[Scope, Receive]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive))
        await hello(scope, receive, send)

    middleware, _ = wrapped(app)
    scope = scope_of(path, root_path="/app")
    answer = await call(middleware, scope, [])
    assert (answer.status, answer.body) == (200, b"hello")
    assert seen[0][0] is scope
    assert "connection" not in answer.headers


async def test_a_server_that_leaves_out_the_optional_is_understood() -> None:
    """A scope without root path, query and client is whole enough."""
    app, _ = wrapped(hello)
    scope = {"type": "http", "method": "GET", "path": "/readyz", "headers": []}
    assert (await call(app, scope, [])).status == 200
    assert (await call(app, {**scope, "path": "/admin/drain"}, [])).status == 403


async def test_an_unknown_kind_of_scope_goes_through() -> None:
    """What ASGI may bring one day is the application's."""
    kinds: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        kinds.append(scope["type"])

    middleware, _ = wrapped(app)
    await call(middleware, {"type": "webtransport"}, [])
    assert kinds == ["webtransport"]


# -- what is in flight --------------------------------------------------------------------------


async def observed(
    scope: Scope, body: Callable[[Receive, Send], Awaitable[None]], *, cancel: bool = False
) -> tuple[dict[str, int], dict[str, int], BaseException | None]:
    """Return the counts inside the application and after it, and what came out."""
    inside: dict[str, int] = {}
    caught: BaseException | None = None

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        inside.update(probes.in_flight)
        await body(receive, send)

    middleware, probes = wrapped(app)
    if cancel:
        with anyio.move_on_after(0.05):
            await call(middleware, scope, [])
    else:
        try:
            await call(middleware, scope, [])
        except Exception as error:
            caught = error
    return inside, probes.in_flight, caught


async def returns(_receive: Receive, _send: Send) -> None:
    """Do nothing."""


async def raises(_receive: Receive, _send: Send) -> None:
    """Fail."""
    raise LookupError("the application's own")


async def hears_the_disconnect(receive: Receive, _send: Send) -> None:
    """Wait for the client to go."""
    assert (await receive())["type"] == "http.disconnect"


async def never_ends(_receive: Receive, _send: Send) -> None:
    """Wait until it is cancelled."""
    await anyio.sleep_forever()


@pytest.mark.parametrize("kind", ["requests", "websockets"])
@pytest.mark.parametrize("body", [returns, raises, hears_the_disconnect, never_ends])
async def test_what_is_in_flight_is_counted_however_it_ends(
    kind: str, body: Callable[[Receive, Send], Awaitable[None]]
) -> None:
    """One more while it runs; none after a return, an error, a disconnect or a cancellation."""
    scope = scope_of("/work") if kind == "requests" else WEBSOCKET
    inside, after, caught = await observed(scope, body, cancel=body is never_ends)
    assert inside == IDLE | {kind: 1}
    assert after == IDLE
    assert (caught is not None) == (body is raises)


async def test_a_streamed_response_is_in_flight_to_its_end() -> None:
    """Its start is not its end; several at once are counted as several."""
    go_on = anyio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})

    middleware, probes = wrapped(app)
    answers: list[Answer] = []

    async def request() -> None:
        answers.append(await ask(middleware, "/stream"))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        shown = (await ask(middleware, "/admin/drain")).json()
        assert shown["in_flight"] == probes.in_flight == IDLE | {"requests": 3}
        go_on.set()
    assert probes.in_flight == IDLE
    assert [answer.body for answer in answers] == [b"ab"] * 3


async def test_probes_are_not_counted() -> None:
    """A check that looks finds nothing in flight while its own probe waits for it."""
    seen: list[dict[str, int]] = []
    app, probes = wrapped(hello)

    @probes.readiness
    async def looks() -> None:
        seen.append(probes.in_flight)

    assert (await ask(app, "/readyz")).status == 200
    assert seen == [IDLE]


@pytest.mark.parametrize("kind", ["http", "websocket", "lifespan"])
async def test_an_error_of_the_application_s_comes_out_as_it_is(kind: str) -> None:
    """The very same object, in no group and with no other behind it, on each event loop."""
    error = LookupError("the application's own")

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise error

    middleware, _ = wrapped(app)
    scope = {**scope_of("/"), "type": kind}
    with pytest.raises(LookupError) as caught:
        await call(middleware, scope, [{"type": "lifespan.startup"}])
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


# -- Connection: close --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ("1.1", [], [(b"connection", b"close")]),
        ("1.0", [], [(b"connection", b"close")]),
        ("1.1", [(b"Connection", b"keep-alive")], [(b"connection", b"close")]),
        (
            "1.1",
            [(b"connection", b"keep-alive"), (b"x-a", b"1"), (b"CONNECTION", b"x")],
            [(b"x-a", b"1"), (b"connection", b"close")],
        ),
        ("2", [(b"x-a", b"1")], [(b"x-a", b"1")]),
        ("3", [], []),
        (None, [], [(b"connection", b"close")]),
    ],
)
async def test_a_draining_process_closes_its_connections(
    version: str | None, given: list[tuple[bytes, bytes]], expected: list[tuple[bytes, bytes]]
) -> None:
    """Every HTTP/1.x response says close, once; HTTP/2 and later have other means."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": given}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})

    middleware, probes = wrapped(app)
    probes.drain()
    scope = scope_of("/")
    if version is None:
        del scope["http_version"]
    else:
        scope["http_version"] = version
    before = list(given)
    answer = await call(middleware, scope, [])
    assert answer.raw_headers == expected
    assert answer.body == b"x"
    assert start["headers"] == before  # the application may send the same message again


async def test_a_response_without_headers_closes_too() -> None:
    """The headers of a response are optional."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    middleware, probes = wrapped(app)
    probes.drain()
    assert (await ask(middleware, "/")).raw_headers == [(b"connection", b"close")]


async def test_a_request_in_flight_when_the_drain_begins_closes_too() -> None:
    """What counts is the moment of the response, also when the drain is over by then."""
    arrived, go_on = anyio.Event(), anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            arrived.set()
            await go_on.wait()
        await hello(scope, receive, send)

    middleware, probes = wrapped(app)
    late: list[Answer] = []

    async def request() -> None:
        late.append(await ask(middleware, "/slow"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        await arrived.wait()
        probes.drain()
        go_on.set()
    assert late[0].headers["connection"] == "close"
    probes.undrain()
    assert "connection" not in (await ask(middleware, "/")).headers


# -- disconnecting probers ----------------------------------------------------------------------


async def test_a_prober_that_hangs_up_disturbs_nobody() -> None:
    """The check that its request started goes on, and answers the next one."""
    go_on = anyio.Event()
    runs = 0
    app, probes = wrapped(hello)

    @probes.readiness(timeout=5)
    async def database() -> None:
        nonlocal runs
        runs += 1
        await go_on.wait()

    with anyio.move_on_after(0.05):
        await ask(app, "/readyz")
    go_on.set()
    answer = await ask(app, "/readyz")
    assert (answer.status, runs) == (200, 1)
    await probes.service.stopped()


# -- several in one process ---------------------------------------------------------------------


async def test_two_applications_know_nothing_of_each_other() -> None:
    """Each has its checks, its drain and its count."""
    first, first_probes = wrapped(hello)
    second, second_probes = wrapped(hello)

    @first_probes.readiness
    async def database() -> None:
        raise Unhealthy

    second_probes.drain()
    assert (await ask(first, "/readyz")).json()["draining"] is None
    assert (await ask(second, "/readyz")).json()["checks"] == {}
    assert "connection" not in (await ask(first, "/")).headers


async def test_two_doors_of_one_process_share_its_state() -> None:
    """One shows everything inside, the other little outside, and a drain reaches both."""
    probes = make_probes()
    inside = ProbeMiddleware(hello, probes=probes)
    outside = ProbeMiddleware(hello, probes=probes, details="none", drain_path=None)
    await ask(inside, "/admin/drain", "POST")
    assert (await ask(outside, "/readyz")).text == '{"status": "unhealthy", "probe": "readiness"}\n'
    assert (await ask(outside, "/admin/drain", "DELETE")).body == b"hello"
    assert probes.draining is not None
