"""An event loop on a thread of its own, for those who have none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["PORTAL", "Portal"]

T = TypeVar("T")

logger = logging.getLogger("probekit")


class Portal:
    """Runs coroutines for threads that wait for them.

    The loop is made when it is first needed, in the process that needs it: a server that loads the
    application and forks afterwards would take no thread along. The thread is daemonic, and so are
    those that it starts, so that the process still exits.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new: a child that was just forked has no such thread."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

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
            if self._loop is None or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=turn, args=(loop,), name="probekit:loop", daemon=True
                )
                try:
                    thread.start()
                except BaseException:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop for ever: whoever stops it, or exits in it, would silence all probes."""
    while not loop.is_closed():
        try:
            loop.run_forever()
        except BaseException:
            logger.exception("something tried to end the event loop of the checks; it goes on")


PORTAL = Portal()
"""The one of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PORTAL.forget)
