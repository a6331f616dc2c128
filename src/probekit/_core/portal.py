"""An event loop on a thread of its own, for those who have none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["PORTAL", "SIDE", "Portal"]

T = TypeVar("T")

logger = logging.getLogger("probekit")

LOOKED_AFTER = 1.0
"""Seconds after which a caller looks whether the loop still turns; most checks take less."""
PATIENCE = 1.0
"""Seconds that the loop has to prove it, on a busy machine."""


class Portal:
    """Runs coroutines for threads that wait for them.

    The loop is made when it is first needed, in the process that needs it: a server that loads the
    application and forks afterwards would take no thread along. The thread is daemonic, and so are
    those that it starts, so that the process still exits.

    Args:
        name: The thread's.
        purpose: Whose loop it is, for the log.
    """

    def __init__(self, name: str = "probekit:loop", purpose: str = "the checks") -> None:
        self._name = name
        self._purpose = purpose
        self.forget()

    def forget(self) -> None:
        """Be as new: a child that was just forked has no such thread."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        # the same as get_running_loop(), which raises where there is none
        loop = asyncio._get_running_loop()
        return loop is not None and loop is self._loop

    def revive(self) -> asyncio.AbstractEventLoop:
        """Return the loop, and see to it that it turns; it is another if a thread died in it.

        Raises:
            OSError: If there is no loop, and the system grants none.
            RuntimeError: If there is no thread for it, or the interpreter ends.
        """
        return self._running()

    def post(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called on the loop soon, from any thread; raises as `revive` does."""
        self._running().call_soon_threadsafe(callback)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``main`` on the loop and return what it returns; from any other thread.

        However long that takes, as long as the loop turns. Who waits for one that does not turn
        holds a thread of the server's, and the next probe would hold another.

        Raises:
            OSError: If there is no loop, and the system grants none.
            RuntimeError: If there is no thread for it, the loop stands still or has ended, or the
                interpreter ends.
        """
        loop = self._running()
        coroutine = main()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except BaseException:
            coroutine.close()
            raise
        while True:
            try:
                future.exception(LOOKED_AFTER)  # whose TimeoutError is never the coroutine's
            except TimeoutError:
                prove(loop)
            else:
                return future.result()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            thread = self._thread
            if self._loop is None or self._loop.is_closed() or not (thread and thread.is_alive()):
                self._abandon()
                self._loop, self._thread = started(self._name, self._purpose)
            return self._loop

    def _abandon(self) -> None:
        """Free what a loop holds that nobody turns any more."""
        if self._loop is not None:
            with suppress(Exception):  # it is broken, and goes for that very reason
                self._loop.close()


def started(name: str, purpose: str) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """Return a loop and the thread that turns it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=turn, args=(loop, purpose), name=name, daemon=True)
    try:
        thread.start()
    except BaseException:
        loop.close()
        raise
    return loop, thread


def turn(loop: asyncio.AbstractEventLoop, purpose: str) -> None:
    """Run the loop for ever: whoever stops it, or exits in it, would silence all probes."""
    while not loop.is_closed():
        try:
            loop.run_forever()
        except Exception as error:  # of a callback none comes so far: this is the loop's own
            log(f"the event loop of {purpose} has broken; the next question takes a new one", error)
            return
        except BaseException as error:
            log(f"something tried to end the event loop of {purpose}; it goes on", error)


def log(message: str, error: BaseException) -> None:
    """Log an error, even if logging itself is broken."""
    with suppress(Exception):
        logger.error(message, exc_info=error)


def prove(loop: asyncio.AbstractEventLoop) -> None:
    """Return if the loop turns.

    Raises:
        RuntimeError: If it does not.
    """
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:
        raise RuntimeError("the event loop of the checks was closed amid a question") from None
    if not turned.wait(PATIENCE):
        raise RuntimeError(
            f"the event loop of the checks stands still for more than {PATIENCE:g} s, or its "
            f"thread has died: an async check that blocks must be a plain def"
        )


PORTAL = Portal()
"""The one of this process."""

SIDE = Portal("probekit:side", "the side port")
"""Another, on which no check ever runs, so that nothing of the application's can hold it up."""

if hasattr(os, "register_at_fork"):
    for _portal in (PORTAL, SIDE):
        os.register_at_fork(after_in_child=_portal.forget)
