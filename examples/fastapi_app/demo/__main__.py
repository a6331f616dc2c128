"""The story. Every step is checked: the exit status is 0 only if all went as told."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .client import Client, Customers
from .narrator import Narrator
from .server import NotAsTold, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .client import Answer
    from .server import Server

DRAIN_DELAY = 3.0
"""Seconds from SIGTERM to its hand-over to uvicorn; 5 in a cluster, see kubernetes.yaml."""
PAYMENT = 4.5
"""Seconds that a payment takes: longer than the drain delay, so that uvicorn must wait for it."""
LOCKED = 3.0
"""Seconds that another process keeps the database; SQLite lets an order wait for up to 5."""
LIMIT = 90.0
"""Seconds after which the demo gives up, whatever it is waiting for."""


def expect(condition: object, text: str) -> None:
    """Stop the story where it is no longer true."""
    if not condition:
        raise NotAsTold(text)


def passing(answer: Answer) -> bool:
    """Whether a probe passes."""
    return answer.status == 200


def healthy(answer: Answer) -> bool:
    """Whether it passes, and no check has anything to complain of."""
    return passing(answer) and answer.body["status"] == "healthy"


def failing(answer: Answer) -> bool:
    """Whether a probe fails."""
    return answer.status == 503


class Story:
    """What happens to the order service, from its start to its end."""

    def __init__(self, say: Narrator, server: Server, client: Client, database: Path) -> None:
        self.say = say
        self.server = server
        self.client = client
        self.customers = Customers(client)
        self.database = database

    async def tell(self) -> None:
        """Tell all of it."""
        await self.starts()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.customers.come())
            await self.is_healthy()
            await self.loses_its_database()
            await self.drains_and_returns()
            await self.leaves()
        expect(not self.client.lost, f"lost: {self.client.lost}")

    async def get(self, path: str, status: int, text: str | None = None) -> Answer:
        """Ask once, show the answer, insist on its status."""
        answer = await self.client.ask("GET", path)
        self.say.answer(answer, text)
        expect(
            answer.status == status,
            f"GET {path} must answer {status} now, not {answer.status}: {answer.body}",
        )
        return answer

    async def order(self, *, closes: bool) -> None:
        """Place an order by hand and show it."""
        answer = await self.client.ask("POST", "/orders", {"item": "cup"})
        self.say.answer(answer, f"order {answer.body.get('id')} is placed")
        expect(answer.status == 201, f"the order got {answer.status}: {answer.body}")
        expect(answer.closes is closes, f"Connection: close is {answer.closes}, not {closes}")

    async def starts(self) -> None:
        """The server listens at once, but has things to do before it can work."""
        self.say.chapter("STARTING", "a migration and a price list come before the first order")
        await self.get("/startupz", 503)
        await self.get("/readyz", 503)
        await self.get("/healthz", 200, "alive: slow is no reason to be restarted")
        self.say.answer(await self.client.poll("/startupz", passing, within=8))
        await self.get("/readyz", 200)

    async def is_healthy(self) -> None:
        """All three probes pass, and customers come."""
        self.say.chapter("IN SERVICE", "from now on a customer places ten orders a second")
        await self.client.poll("/readyz", healthy, within=5)
        answer = await self.get("/readyz", 200)
        self.say.note("checked: " + ", ".join(answer.body["checks"]))
        await self.get("/healthz", 200)
        await self.order(closes=False)
        await asyncio.sleep(1.5)
        self.say.note(f"{self.client.orders} orders so far")

    async def loses_its_database(self) -> None:
        """Another connection locks the database, then lets go."""
        self.say.chapter("A DEPENDENCY FAILS", "another process takes the database for itself")
        async with locked(self.database):
            self.say.act("BEGIN EXCLUSIVE from outside: no read, no write gets through")
            released = time.monotonic() + LOCKED
            answer = await self.client.poll("/readyz", failing, within=LOCKED)
            self.say.answer(answer)
            check = answer.body["checks"]["database"]
            expect(check["status"] == "unhealthy", f"the check 'database' must fail, not {check}")
            await self.get("/healthz", 200, "still alive: a restart would repair nothing")
            await asyncio.sleep(max(0.0, released - time.monotonic() - 0.5))
            await self.get("/readyz", 503)
            await asyncio.sleep(max(0.0, released - time.monotonic()))
        self.say.act("ROLLBACK: the database is free again")
        answer = await self.client.poll("/readyz", passing, within=3)
        self.say.answer(answer)
        async with self.customers.quiet:
            waited = self.client.slowest
        expect(waited > LOCKED / 2, f"an order must have waited for the lock, not {waited:.1f} s")
        self.say.note(f"the order caught by the lock waited {waited:.1f} s and is placed")
        await self.order(closes=False)
        if not healthy(answer):
            self.say.answer(await self.client.poll("/readyz", healthy, within=5))

    async def drains_and_returns(self) -> None:
        """An operator takes it out of rotation and back."""
        self.say.chapter("AN OPERATOR DRAINS IT", "no new work is sent; what comes is served")
        await self.drain({"reason": "a slow query", "by": "ada", "lease": 600}, "for ten minutes")
        await self.get("/readyz", 503)
        await self.get("/healthz", 200)
        await self.order(closes=True)
        before = self.client.orders
        await asyncio.sleep(1.5)
        self.say.note(f"{self.client.orders - before} more orders served meanwhile")
        answer = await self.client.ask("DELETE", "/admin/drain")
        self.say.answer(answer, "the operator is done")
        expect(answer.status == 200, f"the end of the drain got {answer.status}: {answer.body}")
        await self.get("/readyz", 200)
        await self.order(closes=False)
        await self.drain({"reason": "and forgotten", "by": "bob", "lease": 1.5}, "for 1.5 s")
        await self.get("/readyz", 503)
        self.say.answer(
            await self.client.poll("/readyz", passing, within=3), "the lease has ended by itself"
        )

    async def drain(self, body: dict[str, object], text: str) -> None:
        """Begin a drain."""
        answer = await self.client.ask("POST", "/admin/drain", body)
        self.say.answer(answer, text)
        expect(answer.status == 202, f"the drain got {answer.status}: {answer.body}")

    async def leaves(self) -> None:
        """SIGTERM comes while a payment is under way."""
        self.say.chapter("SIGTERM", f"with a payment under way that takes {PAYMENT:g} s")
        async with asyncio.TaskGroup() as group:
            payment = group.create_task(self.client.ask("POST", "/orders/1/payment"))
            self.say.act("POST /orders/1/payment")
            await self.payment_is_in_flight()
            self.server.terminate()
            signalled = time.monotonic()
            self.say.act(f"SIGTERM to process {self.server.process.pid}")
            await self.serves_to_the_last()
            await self.stops_listening(within=DRAIN_DELAY)
            took = time.monotonic() - signalled
            expect(took >= DRAIN_DELAY, f"uvicorn got the signal {took:.1f} s after it came")
            expect(not payment.done(), "the payment must be in flight when uvicorn shuts down")
            self.say.note("uvicorn has the signal, listens no more and waits for the payment")
            answer = await payment
        state = answer.body.get("status")
        self.say.answer(answer, f"order 1 is {state}, after {answer.took:.1f} s")
        expect(answer.status == 200, f"the payment got {answer.status}: {answer.body}")
        status = await self.server.ended(within=5)
        expect(
            status == -signal.SIGTERM,
            f"uvicorn ends itself by SIGTERM after a shutdown in order, but its status is {status}",
        )
        took = time.monotonic() - signalled
        self.say.note(
            f"the process has left by itself, {took:.1f} s after SIGTERM, with uvicorn's own "
            f"exit status {status}"
        )

    async def serves_to_the_last(self) -> None:
        """Unready at once, it serves whatever comes until nothing does."""
        answer = await self.client.poll("/readyz", failing, within=0.5)
        self.say.answer(answer)
        expect(answer.body["draining"]["final"], "the drain of a SIGTERM must be final")
        await self.get("/healthz", 200)
        await self.order(closes=True)
        before = self.client.orders
        await asyncio.sleep(DRAIN_DELAY / 2)
        await self.order(closes=True)
        self.customers.leave()
        self.say.note(
            f"{self.client.orders - before} orders served since; "
            "the load balancer has seen the 503 and sends no more"
        )

    async def stops_listening(self, *, within: float) -> None:
        """Wait until no connection is accepted any more."""
        host, port = self.client.url.removeprefix("http://").split(":")
        deadline = time.monotonic() + within
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                return
            writer.close()
            expect(time.monotonic() < deadline, f"uvicorn still listens after {within:g} s")
            await asyncio.sleep(0.05)

    async def payment_is_in_flight(self) -> None:
        """Wait until the server itself counts it, while nobody else asks anything."""
        async with self.customers.quiet:
            await self.client.poll(
                "/admin/drain", lambda answer: answer.body["in_flight"]["requests"] == 1, within=2
            )


@asynccontextmanager
async def locked(database: Path) -> AsyncGenerator[None]:
    """Keep everybody else out of a SQLite database while the body runs."""
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as own:
        await asyncio.to_thread(own.execute, "BEGIN EXCLUSIVE")  # waits for its turn
        try:
            yield
        finally:
            own.execute("ROLLBACK")


async def run(say: Narrator, directory: Path, database: Path) -> bool:
    """Tell the story and return whether all went as told."""
    # SIGINT, too: a shell starts what it puts in the background with that one ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    environment = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{database}",
        "PROBEKIT_DRAIN_DELAY": str(DRAIN_DELAY),
        "PAYMENT_SECONDS": str(PAYMENT),
        "WARM_UP_SECONDS": "2",
    }
    say.title("probekit demo: an order service on uvicorn and SQLite, from its start to its end\n")
    async with serving(log=directory / "server.log", environment=environment) as server:
        try:
            async with asyncio.timeout(LIMIT):
                url = await server.url()
                say.act(f"uvicorn listens on {url}, process {server.process.pid}")
                async with Client(url) as client:
                    await Story(say, server, client, database).tell()
        except (NotAsTold, TimeoutError, ExceptionGroup) as error:
            with suppress(NotAsTold):
                await server.ended(within=0.5)  # a server that just died is not yet seen to
            explain(say, server, error)
            return False
    total = client.probes + client.orders
    say.title("")
    say.done(f"{total} requests, {client.orders} of them to the service: {len(client.lost)} lost")
    return True


def explain(say: Narrator, server: Server, error: Exception) -> None:
    """Tell where the story went wrong, and what the server has to say about it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, NotAsTold | TimeoutError):
        raise error
    say.wrong(str(error) or f"the demo is not done after {LIMIT:g} s")
    if server.status is not None:
        say.wrong(f"the server has ended with status {server.status}")
    say.log(server.last_lines())


def main() -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--database", type=Path, metavar="FILE", help="a SQLite file to use and keep"
    )
    database: Path | None = parser.parse_args().database
    say = Narrator()
    with tempfile.TemporaryDirectory(prefix="probekit-demo-") as name:
        directory = Path(name)
        try:
            return 0 if asyncio.run(run(say, directory, database or directory / "orders.db")) else 1
        except (KeyboardInterrupt, asyncio.CancelledError):
            say.wrong("interrupted; the server is ended and nothing is left behind")
            return 130
        except BrokenPipeError:
            # Whoever read along has gone, as `head` does; Python would stumble over it once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1


if __name__ == "__main__":
    sys.exit(main())
