"""A number from elsewhere: fetched by one at a time, and the last good one remembered."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio

from probekit._core.forked import renew_when_forked
from probekit._core.loops import in_trio, is_cancelled
from probekit.checks._fetch import (
    NoNumberError,
    is_async,
    limited,
    task_name,
    to_number,
)
from probekit.exceptions import CheckFailure, Degraded, Unhealthy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probekit.checks._fetch import Fetch

__all__ = ["Flight", "Known", "Said", "Source"]

logger = logging.getLogger("probekit")


class Said(NamedTuple):
    """What a fetch said by raising `Unhealthy` or `Degraded`.

    Attributes:
        kind: Which of them.
        message: Its text, to be published.
        detail: Its values, likewise.
    """

    kind: type[CheckFailure]
    message: str
    detail: dict[str, object]


class Known(NamedTuple):
    """What is known of the number. It is replaced as a whole, so that readers need no lock.

    Attributes:
        value: The last good number, or None.
        at: When it came (monotonic seconds).
        trouble: Why the last fetch brought none, to be published; None if it did.
        said: What the last fetch said instead of bringing one, or None.
        tried: When the last fetch ended (monotonic seconds).
        due: When the next may begin (monotonic seconds).
    """

    value: float | None = None
    at: float = -math.inf
    trouble: str | None = None
    said: Said | None = None
    tried: float = -math.inf
    due: float = -math.inf


class Flight:
    """One fetch under way, which callers on any loop may wait for.

    Attributes:
        since: When it began (monotonic seconds).
        ended: Whether it has.
        answered: Whether something is known by it; not so if its loop ended first.
        alive: Whether there still is something that could end it.
    """

    def __init__(self, since: float) -> None:
        self.since: float = since
        self.ended: bool = False
        self.answered: bool = False
        self.alive: Callable[[], bool] = _always

    async def wait(self, seconds: float) -> None:
        """Return when it has ended, or after ``seconds``."""
        # Polled, since it may go on in a thread or on a loop that is not the caller's, and such a
        # loop may end without a word.
        pause = 0.001
        while not self.ended and seconds > 0:
            pause = min(2 * pause, 0.02, seconds)
            seconds -= pause
            await anyio.sleep(pause)


class Source:
    """Fetches a number when it is due, and remembers it.

    A sync fetch runs on a thread of its own, an async one in a task on the loop of whoever asks
    first. Nobody's cancellation ends it, and its result is used however late it comes.

    Args:
        fetch: What brings the number.
        name: What logs call it.
        max_age: Seconds between a fetch and the next.
        retry_after: The same, after a fetch that brought no number.
        clock: Returns monotonic seconds.

    Attributes:
        known: What is known of the number.

    Raises:
        ConfigurationError: ``fetch`` cannot be called without arguments.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        name: str,
        max_age: float,
        retry_after: float,
        clock: Callable[[], float],
    ) -> None:
        self.known: Known = Known()
        self._fetch = fetch
        self._is_async = is_async(fetch)
        self._name = name
        self._max_age = max_age
        self._retry_after = retry_after
        self._clock = clock
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Forget the fetch under way, but not what is known."""
        self._lock = threading.Lock()
        self._flight: Flight | None = None

    def refresh(self) -> Flight | None:
        """Begin a fetch if one is due; return the one under way, if there is one."""
        with self._lock:
            flight, now, known = self._flight, self._clock(), self.known
            if flight is not None and flight.alive():
                return flight
            # Before the last one: the clock has jumped.
            if known.tried <= now < known.due:
                return None
            flight, refused = Flight(now), None
            if self._is_async:
                self._begin_on_loop(flight)
            else:
                refused = self._begin_on_thread(flight)
            self._flight = flight
        if refused is not None:
            self._end(flight, self._bad(refused))
        return flight

    def _begin_on_thread(self, flight: Flight) -> RuntimeError | None:
        run = partial(copy_context().run, self._on_thread, flight)
        thread = threading.Thread(target=run, name=f"probekit:{self._name}", daemon=True)
        flight.alive = thread.is_alive
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            return error
        return None

    def _begin_on_loop(self, flight: Flight) -> None:
        name = task_name()  # that of the check, by which the watchdog knows who holds the loop
        if not name.startswith("probekit:"):
            name = f"probekit:{self._name}"
        if in_trio():
            import trio

            trio.lowlevel.spawn_system_task(
                self._on_loop, flight, name=name, context=copy_context()
            )
            return
        loop = asyncio.get_running_loop()
        # Not create_task, whose factory is the application's, and not eagerly: the lock is held.
        task = asyncio.Task(self._on_loop(flight), loop=loop, name=name)
        flight.alive = lambda: loop.is_running() and not task.done()

    def _on_thread(self, flight: Flight) -> None:
        known: Known | None = None
        try:
            known = self._good(self._fetch())
        except BaseException as error:  # a fetch may raise anything, and harm nobody
            known = self._bad(error)
        finally:
            self._end(flight, known)

    async def _on_loop(self, flight: Flight) -> None:
        known: Known | None = None
        try:
            known = self._good(await limited(cast("Callable[[], Awaitable[Any]]", self._fetch)))
        except BaseException as error:
            # The end of the loop says nothing about the source.
            ended = isinstance(error, GeneratorExit) or is_cancelled(error)
            known = None if ended else self._bad(error)
        finally:
            self._end(flight, known)

    def _good(self, value: object) -> Known:
        number, now = to_number(value), self._clock()
        if self.known.trouble is not None:
            logger.info("level %r: the source brings a number again", self._name)
        return Known(value=number, at=now, tried=now, due=now + self._max_age)

    def _bad(self, error: BaseException) -> Known:
        now = self._clock()
        known = self.known._replace(said=None, trouble=None, tried=now)
        if isinstance(error, CheckFailure):
            try:
                return known._replace(said=_said(error), due=now + self._max_age)
            except Exception as fault:  # a subclass that the author of the fetch wrote wrong
                error = fault
        own_words = isinstance(error, NoNumberError)
        trouble = str(error) if own_words else f"the source cannot be asked: {type(error).__name__}"
        if trouble != self.known.trouble:
            exc_info = None if own_words else error
            logger.warning("level %r: %s", self._name, trouble, exc_info=exc_info)
        return known._replace(trouble=trouble, due=now + self._retry_after)

    def _end(self, flight: Flight, known: Known | None) -> None:
        with self._lock:
            if self._flight is flight:  # or it was taken for lost, and another is under way
                self._flight = None
                if known is not None:
                    self.known = known
                    flight.answered = True
        flight.ended = True


def _said(failure: CheckFailure) -> Said:
    kind = Degraded if isinstance(failure, Degraded) else Unhealthy
    return Said(kind, str(failure.message), dict(failure.detail or {}))


def _always() -> bool:
    return True
