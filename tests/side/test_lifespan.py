"""The side port of an ASGI application, from its startup to its end, and that of a WSGI one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from probekit import ConfigurationError, Probes
from probekit._core.portal import SIDE
from probekit._web import serving
from probekit._web.side import Side
from probekit.asgi import ProbeMiddleware
from probekit.wsgi import ProbeMiddleware as WSGIMiddleware
from tests.full_pool import full_pool
from tests.waiting import free_port, wait_until
from tests.web._asking import ask as ask_app
from tests.web._asking import make_probes

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probekit._web.asgi_types import ASGIApp, Message, Receive, Scope, Send

LOCAL = "127.0.0.1"


class Slow:
    """An application whose startup and shutdown take until they are let go on."""

    def __init__(self) -> None:
        self.start = anyio.Event()
        self.stop = anyio.Event()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self.start.wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop.wait()
        await send({"type": "lifespan.shutdown.complete"})


class Server:
    """The server's side of a lifespan."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.shutdown = anyio.Event()
        self.messages: list[str] = []
        self._started = False

    async def receive(self) -> Message:
        """Say what is next."""
        if not self._started:
            self._started = True
            return {"type": "lifespan.startup"}
        await self.shutdown.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message: Message) -> None:
        """Hear of it."""
        self.sent.append(message["type"].removeprefix("lifespan."))
        self.messages.append(message.get("message", ""))

    async def run(self, app: ASGIApp) -> None:
        """Run it to its end."""
        await app({"type": "lifespan"}, self.receive, self.send)


async def asked(port: int, path: str) -> tuple[int, Any]:
    """Ask from a thread."""
    answer = await to_thread.run_sync(ask, port, path)
    return answer.status, answer.message


@pytest.mark.anyio
async def test_it_has_ended_when_the_server_is_told_of_the_end() -> None:
    """A server may run the loop no further then, and what is left to do would never be done."""
    port, listened = free_port(), []
    slow, server = Slow(), Server()
    slow.start.set()
    slow.stop.set()
    server.shutdown.set()
    app = ProbeMiddleware(slow, probes=make_probes(), side_port=port, side_host=LOCAL)

    async def send(message: Message) -> None:
        listened.append((message["type"], await to_thread.run_sync(listens, port)))

    with anyio.fail_after(15):
        await app({"type": "lifespan"}, server.receive, send)
    assert listened == [
        ("lifespan.startup.complete", True),
        ("lifespan.shutdown.complete", False),
    ]


@pytest.mark.anyio
async def test_it_listens_from_the_startup_to_the_end_of_the_lifespan() -> None:
    """A slow startup is seen as one, and so is a slow shutdown; then nobody answers."""
    probes, port = make_probes(), free_port()
    slow, server = Slow(), Server()
    app = ProbeMiddleware(slow, probes=probes, side_port=port, side_host=LOCAL)
    assert not listens(port)
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run, app)
            while not listens(port):
                await anyio.sleep(0.01)
            assert await asked(port, "/startupz") == (503, "the application has not started")
            assert await asked(port, "/healthz") == (200, None)
            slow.start.set()
            while await asked(port, "/readyz") != (200, None):
                await anyio.sleep(0.01)
            assert await asked(port, "/startupz") == (200, None)
            server.shutdown.set()
            while await asked(port, "/readyz") != (503, "the application has ended"):
                await anyio.sleep(0.01)
            slow.stop.set()
    assert not listens(port)
    assert server.sent == ["startup.complete", "shutdown.complete"]


@pytest.mark.anyio
async def test_the_end_waits_for_no_thread_of_the_applications_pool() -> None:
    """Sync endpoints that hang may have taken up all of them, and the application must end."""
    slow, server = Slow(), Server()
    slow.start.set()
    slow.stop.set()
    server.shutdown.set()
    app = ProbeMiddleware(slow, probes=make_probes(), side_port=free_port(), side_host=LOCAL)
    async with full_pool() as is_full:
        await server.run(app)
        assert is_full()
    assert server.sent == ["startup.complete", "shutdown.complete"]


@pytest.mark.anyio
async def test_a_port_that_is_taken_fails_the_startup() -> None:
    """The server is told why, and the application is not started."""
    server = Server()
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        app = ProbeMiddleware(Slow(), probes=make_probes(), side_port=port, side_host=LOCAL)
        with pytest.raises(ConfigurationError, match=f"^side_port {port} on .* is taken"):
            await server.run(app)
    assert server.sent == ["startup.failed"]
    assert server.messages[0].startswith(f"side_port {port} on '127.0.0.1' is taken")


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a request."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_without_a_lifespan_it_listens_from_the_first_request() -> None:
    """A port that is taken then fails no request; the log says that nobody answers there."""
    probes, port = make_probes(), free_port()
    app = ProbeMiddleware(hello, probes=probes, side_port=port, side_host=LOCAL)

    async def main() -> None:
        assert (await ask_app(app, "/")).status == 200
        assert await asked(port, "/readyz") == (200, None)

    asyncio.run(main())
    assert probes.service.listeners
    for listener in probes.service.listeners:
        listener.close()  # type: ignore[attr-defined] # it is a Side


def test_a_first_request_does_not_fail_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """A port that is taken is told in the log alone."""
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        app = ProbeMiddleware(hello, probes=make_probes(), side_port=port, side_host=LOCAL)

        async def main() -> int:
            return (await ask_app(app, "/")).status

        assert asyncio.run(main()) == 200
    assert f"nobody answers on the side port: side_port {port} on" in caplog.text


def wsgi(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    start("200 OK", [])
    return [b"hello"]


def test_a_wsgi_application_is_asked_before_its_first_request() -> None:
    """The first probe begins to serve: the checks run, and in the background, too."""
    probes = Probes(drain_delay=0, observers=[])
    ran = threading.Event()
    probes.readiness(ran.set, name="check", interval=0.05, timeout=0.05, initial_delay=0)
    WSGIMiddleware(wsgi, probes=probes, side_port=0, side_host=LOCAL)
    [side] = probes.service.listeners
    port: int = side.port  # type: ignore[attr-defined] # it is a Side
    try:
        assert ask(port, "/healthz").status == 200
        wait_until(ran.is_set, "the check runs")
        wait_until(lambda: ask(port, "/readyz").status == 200, "it is ready")
        probes.begin()  # it has begun already
    finally:
        side.close()  # type: ignore[attr-defined] # it is a Side


def test_a_wsgi_application_whose_port_is_taken_is_not_made() -> None:
    """The error comes where the option is written."""
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"^side_port {port} on .* is taken"):
            WSGIMiddleware(wsgi, probes=make_probes(), side_port=port, side_host=LOCAL)


def test_begin_comes_before_the_first_request() -> None:
    """What a server that forks by itself calls in each worker arms, listens and runs checks."""
    probes = make_probes()
    ran = threading.Event()
    probes.readiness(ran.set, name="check", interval=0.05, timeout=0.05, initial_delay=0)
    WSGIMiddleware(wsgi, probes=probes)
    before = probes.service.served
    probes.begin()
    assert (before, probes.service.served) == (False, True)
    assert probes.sigterm.startswith("off")
    wait_until(ran.is_set, "the check runs")


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_start_is_ended_by_stop(where: str) -> None:
    """From the loop of the checks and from any other thread, as often as one likes."""
    probes = make_probes()

    async def main() -> int:
        serving = probes.start(host=LOCAL, port=0)
        assert await asked(serving.port, "/readyz") == (200, None)
        for _ in range(2):
            if where == "loop":
                serving.stop()
            else:
                await to_thread.run_sync(serving.stop)
        port = serving.port
        with anyio.fail_after(10):
            while probes.service.listeners:
                await anyio.sleep(0.01)
        return port

    asyncio.run(main())
    assert probes.service.phase == "idle"


@pytest.mark.parametrize("asked_meanwhile", [False, True])
def test_start_outlives_the_loop_that_it_was_called_on(asked_meanwhile: bool) -> None:
    """Its end then needs no loop of the application's."""
    probes = make_probes()

    async def main() -> Any:
        return probes.start(host=LOCAL, port=0)

    serving = asyncio.run(main())
    if asked_meanwhile:
        assert ask(serving.port, "/readyz").status == 200
    serving.stop()
    assert not probes.service.listeners


@pytest.mark.anyio
async def test_a_block_that_is_cancelled_is_left_in_order() -> None:
    """Nothing goes on, although the task may wait for nothing any more."""
    probes, port = make_probes(), free_port()
    with anyio.CancelScope() as scope:
        async with probes.serve(host=LOCAL, port=port):
            assert await asked(port, "/readyz") == (200, None)
            scope.cancel()
            await anyio.sleep(60)
    assert not listens(port)
    assert probes.service.phase == "idle"
    assert not probes.service.traffic.blocks


class Job:
    """A job on a thread, which takes longer than everything else has to end."""

    def __init__(self, probes: Probes) -> None:
        self.abandoned: list[str] = []
        self._work = probes.work("slow", on_abandon=self.abandoned.append)
        self._work.__enter__()
        self.left = threading.Event()
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        self.left.wait(10)
        time.sleep(2)
        self._work.__exit__()


def test_a_block_waits_for_jobs_as_long_as_they_may_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that all else has to end is not theirs; the port is free when the block is left."""
    monkeypatch.setattr(serving, "ENDING", 0.5)
    monkeypatch.setattr(serving, "ABANDON", 0.0)
    probes = make_probes(linger=15)

    async def main() -> Job:
        async with probes.serve(host=LOCAL, port=0):
            job = Job(probes)
            job.left.set()
        assert not probes.service.listeners
        return job

    assert asyncio.run(main()).abandoned == []
    with probes.serve(host=LOCAL, port=0):
        job = Job(probes)
        job.left.set()
    assert (job.abandoned, probes.service.listeners, probes.service.phase) == ([], [], "idle")


def test_an_end_that_is_cancelled_frees_the_port() -> None:
    """Ctrl-C amid the end cancels the task itself, whatever it has shielded."""
    probes, port = make_probes(linger=15), free_port()

    async def serve() -> None:
        async with probes.serve(host=LOCAL, port=port):
            unfinished.append(probes.work("slow").__enter__())

    async def main() -> None:
        task = asyncio.create_task(serve())
        while not probes.service.jobs.ending:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not listens(port)

    unfinished: list[object] = []
    asyncio.run(main())
    assert not probes.service.listeners
    with probes.serve(host=LOCAL, port=port):
        assert listens(port)


@pytest.mark.anyio
async def test_a_block_may_be_stopped_from_within() -> None:
    """To leave it then is no news."""
    probes = make_probes()
    with anyio.fail_after(15):
        async with probes.serve(host=LOCAL, port=0) as serving:
            serving.stop()
            while probes.service.listeners:
                await anyio.sleep(0.01)
    assert probes.service.phase == "idle"


def test_a_child_keeps_no_socket_and_no_place() -> None:
    """What a fork leaves behind is closed; what a server may ask for again is not forgotten."""
    probes = make_probes()
    WSGIMiddleware(wsgi, probes=probes, side_port=0, side_host=LOCAL)
    serving = probes.start(host=LOCAL, port=0)
    own, lent = probes.service.listeners
    for side in (own, lent):
        assert isinstance(side, Side)
        assert side._listening is not None
        SIDE.run(side._listening.close)  # or the loop would look for what has gone
        side.forked()
        assert side._listening is None
    assert probes.service.listeners == [own]
    serving.stop()
