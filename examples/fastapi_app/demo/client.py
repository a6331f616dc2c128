"""Everybody who asks the server something; each request is counted, and what became of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx

from .server import NotAsTold

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Client", "Customers"]

REQUEST_LIMIT = 10.0
"""Seconds after which a request counts as lost."""
PROBES = ("/healthz", "/readyz", "/startupz", "/admin/drain")


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        method: Of the request.
        path: Of the request.
        status: The HTTP status.
        body: The JSON, decoded.
        closes: Whether the server asked to close the connection.
        took: Seconds.
    """

    method: str
    path: str
    status: int
    body: Any
    closes: bool
    took: float


@dataclass
class Client:
    """Asks over kept-alive connections, and keeps the books.

    Attributes:
        url: Where the server listens.
        probes: How many requests asked probekit.
        orders: How many asked the application.
        lost: What became of those that got no answer, or a failure of the application.
        slowest: Seconds that the slowest order took.
    """

    url: str
    probes: int = 0
    orders: int = 0
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        """Open no connection yet."""
        self._http = httpx.AsyncClient(base_url=self.url, timeout=REQUEST_LIMIT, trust_env=False)

    async def __aenter__(self) -> Self:
        """Open connections as they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._http.aclose()

    async def ask(self, method: str, path: str, json: Any = None) -> Answer:
        """Send one request and return the answer.

        Raises:
            NotAsTold: There was none.
        """
        of_probekit = path.startswith(PROBES)
        if of_probekit:
            self.probes += 1
        else:
            self.orders += 1
        start = time.monotonic()
        try:
            response = await self._http.request(method, path, json=json)
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            self.lost.append(f"{method} {path}: {type(error).__name__}")
            raise NotAsTold(f"{method} {path} got no answer: {error!r}") from error
        took = time.monotonic() - start
        if not of_probekit:
            self.slowest = max(self.slowest, took)
            if response.status_code >= 500:
                self.lost.append(f"{method} {path}: {response.status_code}")
        closes = response.headers.get("connection", "").lower() == "close"
        return Answer(method, path, response.status_code, body, closes, took)

    async def poll(self, path: str, until: Callable[[Answer], bool], *, within: float) -> Answer:
        """Ask again and again until the answer is as wished.

        Raises:
            NotAsTold: It was not, within so many seconds.
        """
        deadline = time.monotonic() + within
        while True:
            answer = await self.ask("GET", path)
            if until(answer):
                return answer
            if time.monotonic() > deadline:
                raise NotAsTold(
                    f"GET {path} is not as it should be after {within:g} s: it answers "
                    f"{answer.status}, {answer.body}"
                )
            await asyncio.sleep(0.05)


class Customers:
    """Place an order every tenth of a second, until they have enough.

    Attributes:
        quiet: Who holds this lock has the server to himself.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._enough = False
        self.quiet = asyncio.Lock()

    async def come(self) -> None:
        """Order and order again.

        Raises:
            NotAsTold: An order was refused or lost.
        """
        while not self._enough:
            async with self.quiet:
                answer = await self._client.ask("POST", "/orders", {"item": "tea", "quantity": 2})
            if answer.status != 201:
                raise NotAsTold(f"an order got {answer.status}: {answer.body}")
            await asyncio.sleep(0.1)

    def leave(self) -> None:
        """Have enough."""
        self._enough = True
