"""Constant load: clients that ask again and again, never retry, and note what failed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from tests.waiting import PATIENCE, wait_until

from .clients import Connection

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self

__all__ = ["Failure", "Load"]

QUICK = 4
"""How many clients ask for what is answered at once."""

SLOW = 6
"""How many clients wait for what takes a second, so that so many such requests are in flight."""

PAUSE = 0.02
"""Seconds between an answer and the client's next request."""

LIMIT = 10.0
"""Seconds that any answer may take."""

AT_ONCE = 0.3
"""Seconds within which a slow request fails that nobody had begun to answer."""


class Failure(NamedTuple):
    """A request without a good answer: what was asked for, what happened, after how long."""

    path: str
    reason: str
    seconds: float

    @property
    def cut(self) -> bool:
        """Whether it failed while it was being answered."""
        return self.path == "/slow" and self.seconds > AT_ONCE


class Load:
    """The clients of one port, on a thread; a context manager that starts and ends them.

    Attributes:
        ok: How many requests got a good answer.
        failures: The others.
    """

    def __init__(self, port: int) -> None:
        self.ok = 0
        self.failures: list[Failure] = []
        self._port = port
        self._ends = False
        self._asked: Counter[int] = Counter()
        self._thread = ThreadPoolExecutor(1, "load")
        self._clients: Future[None] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._clients = self._thread.submit(asyncio.run, self._all())
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Let every client get its last answer."""
        self._ends = True
        if self._clients is not None:
            self._clients.result(LIMIT + PATIENCE)
        self._thread.shutdown()

    def lap(self) -> None:
        """Return when every client has ended what it was waiting for."""
        before = self._asked.copy()
        wait_until(
            lambda: all(self._asked[each] > before[each] for each in range(QUICK + SLOW)),
            "every client has an answer",
            patience=LIMIT + PATIENCE,
        )

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in range(QUICK + SLOW):
                tasks.create_task(self._client(each, "/" if each < QUICK else "/slow"))

    async def _client(self, number: int, path: str) -> None:
        await asyncio.sleep(number / (QUICK + SLOW))  # not all in step
        connection: Connection | None = None
        while not self._ends:
            began = time.monotonic()
            try:
                async with asyncio.timeout(LIMIT):
                    connection = connection or await Connection.open(self._port)
                    status, _ = await connection.get(path)
            except (OSError, EOFError) as error:
                reason = reason_of(error)
            else:
                reason = "" if status == 200 else f"status {status}"
            if reason:
                self.failures.append(Failure(path, reason, time.monotonic() - began))
            else:
                self.ok += 1
            self._asked[number] += 1
            if connection and (reason or connection.closing):
                connection.abort()
                connection = None
            await asyncio.sleep(PAUSE)
        if connection:
            connection.abort()


def reason_of(error: Exception) -> str:
    """Return in a word how a request failed."""
    match error:
        case TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "refused"
        case EOFError():
            return "closed"
        case _:
            return "reset"
