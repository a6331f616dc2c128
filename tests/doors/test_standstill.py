"""A handler that blocks for real: what it does to the checks of the same application, and not."""

from __future__ import annotations

import socketserver
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Probes
from probekit.asgi import ProbeMiddleware
from tests.core.helpers import busy
from tests.waiting import answering
from tests.web._asking import Answer, ask

from ._apps import LifespanRun, hello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit._web.asgi_types import Receive, Scope, Send

pytestmark = pytest.mark.anyio


class Echo(socketserver.StreamRequestHandler):
    """Answers every line but ``quiet`` with itself, after as long as a real network takes."""

    def handle(self) -> None:
        """Answer until the client has gone."""
        for line in self.rfile:
            time.sleep(0.04)
            if line != b"quiet\n":
                self.wfile.write(line)


@pytest.fixture
def dependency() -> Iterator[int]:
    """The port of a server in a thread of its own."""
    with answering(Echo) as port:
        yield port


class Application:
    """An application with probes, one of whose handlers blocks while a check runs."""

    def __init__(self, port: int) -> None:
        self.probes = Probes(observers=[], drain_delay=0)
        self.app = ProbeMiddleware(self.serve, probes=self.probes)
        self.seconds = 0.0
        self._port = port
        self._begun = anyio.Event()

    async def talk(self, *lines: bytes) -> None:
        """Be a check that needs a round trip for each line, and one to connect."""
        self._begun.set()
        async with await anyio.connect_tcp("127.0.0.1", self._port) as stream:
            for line in lines:
                await stream.send(line)
                assert await stream.receive() == line

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold the loop as soon as a check has begun to run."""
        if scope["type"] == "http":
            with anyio.move_on_after(0.05):  # a run that goes on does not begin
                await self._begun.wait()
            busy(self.seconds)
        await hello(scope, receive, send)

    async def readyz(self, *, blocked: float = 0.0) -> Answer:
        """Ask for readiness while the handler blocks."""
        found: list[Answer] = []
        self.seconds = blocked
        self._begun = anyio.Event()

        async def probe() -> None:
            found.append(await ask(self.app, "/readyz"))

        async with anyio.create_task_group() as group:
            if blocked:
                group.start_soon(ask, self.app, "/slow")
            group.start_soon(probe)
        return found[0]


def statuses(answer: Answer) -> set[str]:
    """Return what the checks are found to be."""
    return {each["status"] for each in answer.json()["checks"].values()}


async def test_five_healthy_dependencies_are_not_five_dead_ones(dependency: int) -> None:
    """Whether the handler blocks the first run or a later one."""
    application = Application(dependency)
    for number in range(5):
        lines = [b"%d\n" % line for line in range(3 + number)]
        application.probes.readiness(
            speaker(application, *lines), name=f"dependency {number}", max_age=0
        )

    async def main() -> None:
        assert "unhealthy" not in statuses(await application.readyz(blocked=1.5))
        assert (await application.readyz()).status == 200
        answer = await application.readyz(blocked=1.5)
        assert (answer.status, statuses(answer)) == (200, {"healthy"})

    run = await LifespanRun(application.app).run(main)
    assert run.error is None


async def test_a_dead_dependency_is_found_out_though_the_handler_blocks_on(dependency: int) -> None:
    """Three excuses, and then it is as dead as any."""
    application = Application(dependency)
    application.probes.readiness(
        speaker(application, b"quiet\n"), name="dead", max_age=0, timeout=0.2
    )

    async def main() -> None:
        answer = await application.readyz(blocked=0.5)
        check = answer.json()["checks"]["dead"]
        assert (answer.status, check["status"], check["inconclusive"]) == (503, "unknown", True)
        assert check["message"].startswith("inconclusive: the event loop stood still for 0.")
        found = [statuses(await application.readyz(blocked=0.5)) for _ in range(3)]
        assert found[-1] == {"unhealthy"}

    run = await LifespanRun(application.app).run(main)
    assert run.error is None


def speaker(application: Application, *lines: bytes) -> Callable[[], Any]:
    """Return a check that says these lines."""

    async def check() -> None:
        await application.talk(*lines)

    return check
