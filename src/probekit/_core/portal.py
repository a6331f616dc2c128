"""An event loop on a thread of its own, for those who have none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["PORTAL", "SIDE", "Portal"]

T = TypeVar("T")

logger = logging.getLogger("probekit")


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

    def revive(self) -> None:
        """See to it that the loop turns: a thread may have died in it.

        Raises:
            OSError: If there is no loop, and the system grants none.
            RuntimeError: If there is no thread for it, or the interpreter ends.
        """
        self._running()

    def post(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called on the loop soon, from any thread; raises as `revive` does."""
        self._running().call_soon_threadsafe(callback)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``main`` on the loop and return what it returns; from any other thread.

        Raises:
            OSError: If there is no loop, and the system grants none.
            RuntimeError: If there is no thread for it, or the interpreter ends.
        """
        loop = self._running()
        return asyncio.run_coroutine_threadsafe(main(), loop).result()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            loop, thread = self._loop, self._thread
            if loop is None or loop.is_closed():
                loop, thread = asyncio.new_event_loop(), None
            if thread is None or not thread.is_alive():
                # A loop whose thread has died goes on where it stood: sockets wait on it.
                thread = threading.Thread(
                    target=turn, args=(loop, self._purpose), name=self._name, daemon=True
                )
                try:
                    thread.start()
                except BaseException:
                    if loop is not self._loop:
                        loop.close()
                    raise
            self._loop, self._thread = loop, thread
            return loop


def turn(loop: asyncio.AbstractEventLoop, purpose: str) -> None:
    """Run the loop for ever: whoever stops it, or exits in it, would silence all probes."""
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException:
            logger.exception("something tried to end the event loop of %s; it goes on", purpose)


PORTAL = Portal()
"""The one of this process."""

SIDE = Portal("probekit:side", "the side port")
"""Another, on which no check ever runs, so that nothing of the application's can hold it up."""

if hasattr(os, "register_at_fork"):
    for _portal in (PORTAL, SIDE):
        os.register_at_fork(after_in_child=_portal.forget)
