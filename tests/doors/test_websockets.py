"""Open WebSockets at the end of a drain: told to go if the plan says so, else left alone."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from websockets.sync.client import connect

from probekit import DrainStep
from probekit.asgi import ProbeMiddleware
from tests.e2e.clients import get
from tests.e2e.servers import serve
from tests.lifecycle._signals import DELAY, StandIn, sigterm
from tests.waiting import until, wait_until
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from probekit import Probes
    from probekit._web.asgi_types import Message, Receive, Scope, Send

    Step = Callable[[Receive, Send], Awaitable[object]]

asgi = pytest.mark.anyio

SCOPE: Scope = {"type": "websocket", "path": "/chat", "headers": [], "http_version": "1.1"}
GOING_AWAY = {
    "type": "websocket.close",
    "code": 1001,
    "reason": "the server is going away; connect again",
}
CLOSED_BY_THE_APPLICATION = {"type": "websocket.close", "code": 1000}


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Put a handler for SIGTERM in place, as a server does, and take it away again."""
    before = signal.getsignal(signal.SIGTERM)
    server = StandIn()
    signal.signal(signal.SIGTERM, server.handle)
    yield server
    signal.signal(signal.SIGTERM, before)


class Connection:
    """A server's part of one WebSocket, and a client who says nothing until it hears a close.

    Attributes:
        sent: What the server was given to send, in order.
        gone: Set when the client has gone; then the server raises at each send.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = anyio.Event()
        self._connected = False

    async def receive(self) -> Message:
        """Return the next message of the client's."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await self.gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def send(self, message: Message) -> None:
        """Send to the client, which goes when it is told to."""
        if self.gone.is_set():
            raise OSError("the client has gone")
        self.sent.append(message)
        await anyio.lowlevel.checkpoint()
        if message["type"] == "websocket.close":
            self.gone.set()

    @property
    def kinds(self) -> list[str]:
        """What was sent, by the last word of its type."""
        return [message["type"].removeprefix("websocket.") for message in self.sent]


def closing(**options: Any) -> Probes:
    """Return Probes that close WebSockets at the hand-over."""
    return make_probes(**{"drain_delay": DELAY, "close_websockets": True, **options})


@asynccontextmanager
async def connected(
    probes: Probes, *steps: Step, connection: Connection
) -> AsyncGenerator[Callable[[], bool]]:
    """Run an application of these steps on ``connection``; yields whether it has ended."""
    ended: list[bool] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for step in steps:
            await step(receive, send)

    async def run() -> None:
        middleware = ProbeMiddleware(app, probes=probes)
        await middleware(SCOPE, connection.receive, connection.send)
        ended.append(True)

    async with probes.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        yield lambda: bool(ended)
        tasks.cancel_scope.cancel()
    assert probes.service.farewells == {}
    assert probes.in_flight["websockets"] == 0


async def accept(receive: Receive, send: Send) -> None:
    """Accept the connection."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def listen(receive: Receive, _send: Send) -> None:
    """Wait until the client has gone."""
    assert (await receive())["type"] == "websocket.disconnect"


async def close(_receive: Receive, send: Send) -> None:
    """Close the connection for a reason of the application's own."""
    await send(CLOSED_BY_THE_APPLICATION)


async def say(_receive: Receive, send: Send) -> None:
    """Send something."""
    await send({"type": "websocket.send", "text": "hello"})


async def stay(_receive: Receive, _send: Send) -> None:
    """Go on with something else."""
    await anyio.sleep_forever()


def waiting_for(event: anyio.Event) -> Step:
    """Return a step that waits for ``event``."""

    async def wait(_receive: Receive, _send: Send) -> None:
        await event.wait()

    return wait


async def hand_over(probes: Probes, server: StandIn) -> None:
    """Send SIGTERM and return when the server has it."""
    sigterm()
    await until(lambda: bool(server.signals))
    assert probes.service.steps.reached(DrainStep.HANDED_OVER)


@asgi
async def test_an_open_websocket_is_told_to_go_at_the_hand_over(server: StandIn) -> None:
    """Not before, once, with 1001; the application hears of the end as of any other."""
    probes, connection = closing(), Connection()
    async with connected(probes, accept, listen, connection=connection) as ended:
        sigterm()
        await probes.wait_for(DrainStep.BEGUN)
        assert connection.kinds == ["accept"]
        await until(ended)
        await until(lambda: bool(server.signals))
    assert connection.sent[1:] == [GOING_AWAY]


@asgi
async def test_many_are_told_each_for_itself(server: StandIn) -> None:
    """One that hangs while it is told, or fails, keeps no other waiting."""
    probes = closing()
    connections = [Connection() for _ in range(5)]
    hung, broken, *fine = connections

    async def hang(message: Message) -> None:
        hung.sent.append(message)
        if message["type"] == "websocket.close":
            await anyio.sleep_forever()

    async def fail(message: Message) -> None:
        broken.sent.append(message)
        if message["type"] == "websocket.close":
            raise RuntimeError("Unexpected ASGI message 'websocket.close'")

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await listen(receive, send)

    middleware = ProbeMiddleware(app, probes=probes)
    async with probes.lifespan(), anyio.create_task_group() as tasks:
        for connection, send in zip(
            connections, [hang, fail, *(each.send for each in fine)], strict=True
        ):
            tasks.start_soon(middleware, SCOPE, connection.receive, send)
        await anyio.wait_all_tasks_blocked()
        assert len(probes.service.farewells) == 5
        await hand_over(probes, server)
        expected = [["accept", "close"]] * 5
        expected[1] = ["accept", "close", "close"]
        await until(lambda: [each.kinds for each in connections] == expected)
        await until(lambda: probes.in_flight["websockets"] == 2)
        tasks.cancel_scope.cancel()
    assert probes.service.farewells == {}


@asgi
async def test_one_that_is_not_accepted_yet_is_closed_as_soon_as_it_is(server: StandIn) -> None:
    """A close before the acceptance would be a refusal, which clients do not come back from."""
    probes, connection, go_on = closing(), Connection(), anyio.Event()
    steps = (waiting_for(go_on), accept, say, listen)
    async with connected(probes, *steps, connection=connection) as ended:
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
        assert connection.sent == []
        go_on.set()
        await until(ended)
    assert connection.kinds == ["accept", "close"]
    assert connection.sent[1] == GOING_AWAY


@asgi
async def test_one_that_is_told_while_its_acceptance_is_under_way_is_told_once(
    server: StandIn,
) -> None:
    """Whoever comes first, there is one close, and after the acceptance."""
    probes, connection = closing(), Connection()
    sending, go_on = anyio.Event(), anyio.Event()

    async def slowly(message: Message) -> None:
        if message["type"] == "websocket.accept":
            sending.set()
            await go_on.wait()
        await connection.send(message)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await listen(receive, send)

    middleware = ProbeMiddleware(app, probes=probes)
    async with probes.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(middleware, SCOPE, connection.receive, slowly)
        await sending.wait()
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
        assert connection.sent == []
        go_on.set()
    assert connection.kinds == ["accept", "close"]


@asgi
async def test_one_that_the_application_refused_is_left_alone(server: StandIn) -> None:
    """It was never open."""
    probes, connection = closing(), Connection()
    async with connected(probes, close, stay, connection=connection):
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
    assert connection.sent == [CLOSED_BY_THE_APPLICATION]


@asgi
async def test_one_that_the_application_closed_is_not_closed_again(server: StandIn) -> None:
    """Its own code and reason stand, though it goes on with other things."""
    probes, connection = closing(), Connection()
    async with connected(probes, accept, close, stay, connection=connection):
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
    assert connection.sent[1:] == [CLOSED_BY_THE_APPLICATION]


@asgi
async def test_what_the_application_sends_afterwards_is_dropped(server: StandIn) -> None:
    """The server takes no more, and the application must not fail for it."""
    probes, connection, go_on = closing(), Connection(), anyio.Event()
    steps = (accept, say, waiting_for(go_on), say, say, close, listen)
    async with connected(probes, *steps, connection=connection) as ended:
        await hand_over(probes, server)
        await until(lambda: "close" in connection.kinds)
        go_on.set()
        await until(ended)
    assert connection.kinds == ["accept", "send", "close"]
    assert connection.sent[-1] == GOING_AWAY


@asgi
async def test_a_server_that_refuses_the_code_is_given_another(server: StandIn) -> None:
    """What daphne lets an application send is 1000, or from 3000 on."""
    probes, connection = closing(), Connection()

    async def refuse(message: Message) -> None:
        if message.get("code") == 1001:
            raise ValueError("invalid close code 1001")
        await connection.send(message)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await listen(receive, send)

    middleware = ProbeMiddleware(app, probes=probes)
    async with probes.lifespan(), anyio.create_task_group() as tasks:
        tasks.start_soon(middleware, SCOPE, connection.receive, refuse)
        await anyio.wait_all_tasks_blocked()
        await hand_over(probes, server)
    assert connection.sent[1:] == [GOING_AWAY | {"code": 1000}]


@asgi
async def test_a_client_that_has_gone_is_no_trouble(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's complaint about it reaches nobody, and the application goes on."""
    probes, connection = closing(), Connection()
    async with connected(probes, accept, stay, connection=connection) as ended:
        connection.gone.set()
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
        assert not ended()
    assert connection.kinds == ["accept"]
    assert "Traceback" not in caplog.text
    assert "failed" not in caplog.text


@asgi
async def test_one_that_has_ended_is_forgotten(server: StandIn) -> None:
    """Whoever is not there any more is told nothing."""
    probes, connection = closing(), Connection()
    async with connected(probes, accept, close, connection=connection) as ended:
        await until(ended)
        assert probes.service.farewells == {}
        await hand_over(probes, server)
    assert connection.kinds == ["accept", "close"]


@asgi
async def test_a_second_signal_tells_them_to_go_as_well(server: StandIn) -> None:
    """The hand-over is one, whether the time is up or somebody insists."""
    probes, connection = closing(drain_delay=30), Connection()
    async with connected(probes, accept, listen, connection=connection) as ended:
        sigterm()
        await anyio.sleep(1.1)
        sigterm()
        await until(ended)
    assert connection.kinds == ["accept", "close"]
    assert len(server.signals) == 1


@asgi
@pytest.mark.usefixtures("server")
async def test_a_drain_by_hand_closes_none() -> None:
    """It may end again; only a process that leaves lets go."""
    probes, connection = closing(), Connection()
    async with connected(probes, accept, listen, connection=connection):
        probes.drain()
        await anyio.wait_all_tasks_blocked()
        assert connection.kinds == ["accept"]


@asgi
async def test_who_did_not_ask_for_it_keeps_them(server: StandIn) -> None:
    """The application has the server's own functions in its hands, and nobody closes anything."""
    probes, connection = make_probes(drain_delay=DELAY), Connection()
    seen: list[object] = []

    async def note(receive: Receive, send: Send) -> None:
        seen.extend((receive, send))

    async with connected(probes, note, accept, listen, connection=connection) as ended:
        await hand_over(probes, server)
        await anyio.wait_all_tasks_blocked()
        assert not ended()
        assert probes.service.farewells == {}
    assert seen == [connection.receive, connection.send]
    assert connection.kinds == ["accept"]


@asgi
async def test_an_error_of_the_application_s_comes_out_and_leaves_nothing() -> None:
    """The very same object, and no entry stays behind."""
    probes, connection, error = closing(), Connection(), LookupError("its own")

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        raise error

    with pytest.raises(LookupError) as caught:
        await ProbeMiddleware(app, probes=probes)(SCOPE, connection.receive, connection.send)
    assert caught.value is error
    assert probes.service.farewells == {}
    assert probes.in_flight["websockets"] == 0
    await probes.service.stopped()


@asgi
async def test_a_websocket_is_an_ordinary_request(server: StandIn) -> None:
    """Without a lifespan the first begins everything, and it counts as traffic."""
    probes, connection = make_probes(drain_delay=30), Connection()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    assert probes.service.traffic.since_latest() is None
    await ProbeMiddleware(app, probes=probes)(SCOPE, connection.receive, connection.send)
    assert probes.service.traffic.since_latest() is not None
    assert probes.sigterm == "armed"
    await probes.service.stopped()
    assert signal.getsignal(signal.SIGTERM) == server.handle


# -- a real server ------------------------------------------------------------------------------

APP = Path(__file__).parent / "_websockets.py"


@pytest.mark.parametrize("path", ["/chat", "/ticker"])
@pytest.mark.parametrize(
    "options",
    [
        ("uvicorn-asyncio", "--ws", "websockets"),
        ("uvicorn-uvloop", "--ws", "websockets"),
        ("uvicorn-asyncio", "--ws", "wsproto"),
    ],
    ids=lambda options: "-".join((options[0], options[-1])),
)
def test_a_client_of_uvicorn_is_sent_elsewhere(options: tuple[str, ...], path: str) -> None:
    """After the delay, with 1001; the server need not wait for it and ends in order."""
    on, *more = options
    with serve(APP, on, *more, PROBEKIT_DRAIN_DELAY="0.5") as server:
        with connect(f"ws://127.0.0.1:{server.port}{path}") as client:
            assert client.recv(10) == "hello"
            server.signal(signal.SIGTERM)
            wait_until(lambda: get(server.port, "/readyz").status == 503, "unready")
            assert set(client) <= {"tick"}  # to the end
            assert (client.close_code, client.close_reason) == (1001, GOING_AWAY["reason"])
        assert server.wait() == -signal.SIGTERM
        assert "Traceback" not in server.log()
        assert "Exception" not in server.log()
