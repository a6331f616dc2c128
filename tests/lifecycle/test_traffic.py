"""What is in flight, since when, and how it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit._lifecycle.traffic import Traffic
from probekit.asgi import ProbeMiddleware
from tests.doors._apps import hello
from tests.fake_time import FakeClock
from tests.web._asking import HeldClock, ask, call, make_probes, scope_of

if TYPE_CHECKING:
    from probekit._web.asgi_types import Receive, Scope, Send


def test_the_oldest_are_named_first_and_the_rest_counted() -> None:
    """Five with method, path and age, whatever their kind; no query."""
    clock = FakeClock()
    traffic = Traffic(clock.monotonic)
    assert str(traffic) == ""
    for number in range(4):
        scope = {"method": "GET", "path": f"/{number}", "query_string": b"token=secret"}
        traffic.requests[number] = scope, clock.monotonic()
        clock.advance(1)
    traffic.websockets["chat"] = {"path": "/chat"}, clock.monotonic() - 2.5
    four = "GET /0 for 4.0 s, GET /1 for 3.0 s, WebSocket /chat for 2.5 s, GET /2 for 2.0 s"
    assert str(traffic) == f"{four}, GET /3 for 1.0 s"
    for number in (4, 5, 6):
        traffic.requests[number] = {"method": "POST", "path": "/late"}, clock.monotonic()
    assert str(traffic) == f"{four}, GET /3 for 1.0 s, and 3 more"


def test_a_scope_without_a_path_is_named_too() -> None:
    """What a server leaves out stops no log line."""
    traffic = Traffic(FakeClock().monotonic)
    traffic.requests["a"] = {}, 1024.0
    traffic.requests["b"] = {"method": "GET", "path": None}, 1024.0
    assert str(traffic) == "WebSocket ? for 0.0 s, GET None for 0.0 s"


@pytest.mark.parametrize("path", ["/a\nSIGTERM: all is well", "/\x1b[2J", "/" + "x" * 5000])
def test_a_path_cannot_forge_or_flood_the_log(path: str) -> None:
    """Servers decode %0A, so a client writes what it likes into a path."""
    traffic = Traffic(FakeClock().monotonic)
    traffic.requests["a"] = {"method": "GET", "path": path}, 1024.0
    assert str(traffic).isprintable()
    assert len(str(traffic)) < 500


@pytest.mark.anyio
async def test_the_door_enters_each_request_with_its_moment_and_takes_it_out() -> None:
    """After a cancellation and an error, too; the latest stays known."""
    clock = HeldClock()
    probes = make_probes(clock)
    traffic = probes.service.traffic
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clock.now += 3
        seen.append(str(traffic))
        if scope["path"] == "/raises":
            raise LookupError
        if scope["path"] == "/hangs":
            await anyio.sleep_forever()
        await hello(scope, receive, send)

    middleware = ProbeMiddleware(app, probes=probes)
    assert traffic.since_latest() is None
    began = clock.now
    assert (await ask(middleware, "/fine", query=b"a=b")).status == 200
    assert (traffic.latest, traffic.since_latest()) == (began, 3)
    with pytest.raises(LookupError):
        await ask(middleware, "/raises", "POST")
    with anyio.move_on_after(0.02):
        await ask(middleware, "/hangs")
    websocket: dict[str, Any] = {"type": "websocket", "path": "/raises"}
    with pytest.raises(LookupError):
        await call(middleware, websocket, [])
    assert seen == [
        "GET /fine for 3.0 s",
        "POST /raises for 3.0 s",
        "GET /hangs for 3.0 s",
        "WebSocket /raises for 3.0 s",
    ]
    assert traffic.idle()
    assert traffic.in_flight() == {"requests": 0, "websockets": 0, "jobs": 0}
    assert traffic.latest == began + 9


@pytest.mark.anyio
async def test_the_same_scope_twice_is_two_requests() -> None:
    """Nothing of the client's or the server's tells them apart, and neither ends the other."""
    probes = make_probes()
    counts: list[int] = []
    go_on = anyio.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        counts.append(probes.in_flight["requests"])
        if len(counts) == 1:
            await go_on.wait()
        await send({"type": "http.response.start", "status": 204})

    middleware, scope = ProbeMiddleware(app, probes=probes), scope_of("/")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, middleware, scope, [])
        await anyio.wait_all_tasks_blocked()
        await call(middleware, scope, [])
        assert probes.in_flight["requests"] == 1
        go_on.set()
    assert counts == [1, 2]
    assert probes.in_flight["requests"] == 0
