"""What needs no server: a request that passes, many checks, the signs of a worker, the import."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, interleaved, ratio
from probekit import Probes
from probekit.asgi import ProbeMiddleware
from probekit.checks.worker import Heartbeat, Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probekit.asgi import ASGIApp

__all__ = ["importing", "many_checks", "pass_through", "worker_signs"]

Message = Any

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 50000),
}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


async def nothing(
    _scope: object, _receive: object, send: Callable[[Message], Awaitable[None]]
) -> None:
    """Be an application that does next to nothing."""
    await send(START)
    await send(BODY)


async def receive() -> Message:
    """Be the body of a request without one."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def ignore(_message: Message) -> None:
    """Be a client that does not listen."""


# -- an ordinary request -------------------------------------------------------------------------


def pass_through() -> list[Figure]:
    """Measure what the middleware adds to a request that is no probe."""
    scope = SCOPE | {"path": "/orders/17"}
    calls = 10_000

    def cost_of(app: ASGIApp) -> Callable[[], float]:
        def measure() -> float:
            began = time.process_time_ns()
            for _ in range(calls):
                try:
                    app(scope, receive, ignore).__await__().send(None)
                except StopIteration:  # it never waits, so that no loop is needed
                    continue
            return (time.process_time_ns() - began) / calls / 1000

        return measure

    probes = Probes(drain_delay=0)
    probes.service.served = True  # the first request, which needs a loop, is not meant
    wrapped = ProbeMiddleware(nothing, probes=probes)
    cost = interleaved({"without": cost_of(nothing), "with": cost_of(wrapped)}, rounds=100)
    added = [one - other for one, other in zip(cost["with"], cost["without"], strict=True)]
    how = f"{median(cost['with']):.2f} - {median(cost['without']):.2f} us of CPU per request"
    return [
        Figure(
            name="middleware around an ordinary route",
            measured=median(added),
            unit="us",
            target=1.0,
            how=how,
        )
    ]


# -- many checks ---------------------------------------------------------------------------------


async def check() -> None:
    """Be well."""


class Checks:
    """So many trivial checks: asked by probekit, and gathered by hand."""

    def __init__(self, count: int) -> None:
        self.count = count
        probes = Probes(drain_delay=0)
        for number in range(count):
            probes.readiness(check, name=f"check-{number}", max_age=0)
        self._app = ProbeMiddleware(nothing, probes=probes)
        self._scope = SCOPE | {"path": "/readyz"}
        self._functions = [check] * count

    async def asked(self) -> None:
        """Ask probekit: run them all, answer in JSON."""
        await self._app(self._scope, receive, ignore)

    async def prove(self) -> None:
        """Make sure that `asked` does what is measured.

        Raises:
            RuntimeError: If the answer is not that every check is healthy.
        """
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(self._scope, receive, send)
        if sent[0]["status"] != 200 or len(json.loads(sent[1]["body"])["checks"]) != self.count:
            raise RuntimeError(f"unexpected answer: {sent}")

    async def gathered(self) -> None:
        """Run them all and answer nothing."""
        await asyncio.gather(*(function() for function in self._functions))


def many_checks() -> list[Figure]:
    """Measure 100 uncached checks beside `asyncio.gather`, and 1,000 beside 100."""
    hundred, thousand = Checks(100), Checks(1000)
    with asyncio.Runner() as runner:
        runner.run(hundred.prove())
        runner.run(thousand.prove())

        def cost_of(function: Callable[[], Awaitable[None]], times: int) -> Callable[[], float]:
            async def several() -> float:
                began = time.process_time_ns()
                for _ in range(times):
                    await function()
                return (time.process_time_ns() - began) / times / 1000

            return lambda: runner.run(several())

        cost = interleaved(
            {
                "gathered": cost_of(hundred.gathered, 20),
                "hundred": cost_of(hundred.asked, 20),
                "thousand": cost_of(thousand.asked, 2),
            },
            rounds=60,
        )
    per_check = [us / 1000 for us in cost["thousand"]], [us / 100 for us in cost["hundred"]]
    return [
        Figure(
            name="100 uncached checks, with JSON / asyncio.gather",
            measured=ratio(cost["hundred"], cost["gathered"]),
            target=2.5,
            how=f"{median(cost['hundred']):.0f} / {median(cost['gathered']):.0f} us of CPU",
        ),
        Figure(
            name="1,000 uncached checks / 100, per check",
            measured=ratio(*per_check),
            target=1.25,
            how=f"{median(per_check[0]):.2f} / {median(per_check[1]):.2f} us of CPU per check",
        ),
    ]


# -- a worker ------------------------------------------------------------------------------------


def worker_signs() -> list[Figure]:
    """Measure what a worker calls for each job; an empty call is part of the figures."""
    calls = 10_000
    probes = Probes(drain_delay=0)

    def job() -> None:
        with probes.work("order 17"):
            pass

    signs: dict[str, Callable[[], None]] = {
        "Heartbeat.beat": Heartbeat(max_age=60).beat,
        "Progress.success": Progress().success,
        "with probes.work": job,
    }

    def cost_of(sign: Callable[[], None]) -> Callable[[], float]:
        def measure() -> float:
            began = time.process_time_ns()
            for _ in range(calls):
                sign()
            return (time.process_time_ns() - began) / calls / 1000

        return measure

    cost = interleaved({name: cost_of(sign) for name, sign in signs.items()}, rounds=50)
    return [
        Figure(
            name=name,
            measured=median(found),
            unit="us",
            how=f"of CPU a call, in one thread; lowest of 50 rounds {min(found):.2f} us",
        )
        for name, found in cost.items()
    ]


# -- the import ----------------------------------------------------------------------------------


def importing() -> list[Figure]:
    """Measure `import probekit` beside `import anyio`, each in a fresh interpreter.

    Neither needs to load asyncio before it is used, so the import alone says little. The second
    figure is of what a process has loaded once it has its probes, beside anyio with asyncio.
    """
    ready = "from probekit import Probes; Probes()"
    pairs = {
        "import probekit / import anyio": ("import probekit", "import anyio", 1.3),
        "import probekit; Probes() / import anyio, asyncio": (ready, "import anyio, asyncio", None),
    }
    code = [side for one, other, _ in pairs.values() for side in (one, other)]
    cost = interleaved({each: cost_of_import(each) for each in code}, rounds=25)
    return [
        Figure(
            name=name,
            measured=ratio(cost[one], cost[other]),
            target=target,
            how=f"{median(cost[one]):.0f} / {median(cost[other]):.0f} ms of CPU, "
            f"anyio {version('anyio')}",
        )
        for name, (one, other, target) in pairs.items()
    ]


def cost_of_import(statement: str) -> Callable[[], float]:
    """Return what measures the milliseconds of CPU of a statement in a fresh interpreter."""
    code = (
        "import time; began = time.process_time()\n"
        f"{statement}\n"
        "print((time.process_time() - began) * 1000)"
    )

    def measure() -> float:
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)

    return measure
