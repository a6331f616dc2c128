"""The end of a process that SIGTERM has interrupted and that nothing but its threads keep alive.

The default action would have ended them with it. An interrupt ends the main thread alone, and then
Python waits for every other that is no daemon, however long that takes.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from contextlib import suppress

__all__ = ["GRACE", "Ending"]

logger = logging.getLogger("probekit")

GRACE = 2.0
"""Seconds that the other threads have to end by themselves once the main thread has: what was in
flight has been waited for before."""
LOOKED_EVERY = 0.1
"""Seconds between two looks whether the main thread has ended."""
SAID_WITHIN = 1.0
"""Seconds for the line in the log: what holds the process up may hold the log's lock as well."""


class Ending:
    """Ends the process as the default action does, if its threads outlive the main one.

    Args:
        grace: For how many seconds they may.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._interrupted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._held_up_by: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._said = threading.Event()

    def begin(self) -> None:
        """Start its threads, which wait: at the end of the interpreter none can be started."""
        with suppress(RuntimeError):  # no thread can be started
            for target in (self._speak, self._wait):
                threading.Thread(target=target, name="probekit:sigterm-end", daemon=True).start()

    def interrupted(self) -> None:
        """Say that the main thread is interrupted; called in a signal handler."""
        self._interrupted.put(True)

    def call_off(self) -> None:
        """Say that nobody was interrupted, and nobody will be."""
        self._interrupted.put(False)

    def _wait(self) -> None:
        names = self._outlast() if self._interrupted.get() else []
        self._held_up_by.put(names)
        if names:
            self._said.wait(SAID_WITHIN)
            end()

    def _outlast(self) -> list[str]:
        """Return the threads that hold the process up, when they have done so for long enough."""
        while not main_thread_has_ended():
            time.sleep(LOOKED_EVERY)  # for as long as it takes: its end is the application's
        until = time.monotonic() + self._grace
        while (names := holding_up()) and time.monotonic() < until:
            time.sleep(LOOKED_EVERY)
        # Whoever has put a handler in place since then sees to the end himself.
        return names if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else []

    def _speak(self) -> None:
        if names := self._held_up_by.get():
            logger.warning(
                "SIGTERM: the main thread has ended, but %g s later the process is still held up "
                "by threads that are no daemons: %s; ending it now by the default action",
                self._grace,
                ", ".join(names),
            )
            self._said.set()


def main_thread_has_ended() -> bool:
    """Whether the main thread does nothing any more but wait for the others."""
    # The flag comes first: the threads of executors are waited for before the main thread counts as
    # ended, and one of them may be what never ends.
    shutting_down = getattr(threading, "_SHUTTING_DOWN", False)
    return bool(shutting_down) or not threading.main_thread().is_alive()


def holding_up() -> list[str]:
    """Return the names of the threads that Python waits for."""
    main = threading.main_thread()
    return [each.name for each in threading.enumerate() if not each.daemon and each is not main]


def end() -> None:
    """End the process by SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)
    # Only process 1 comes this far, from which the kernel keeps the default action, and one that
    # has the signal blocked. This is what a shell makes of an end by the signal.
    os._exit(128 + signal.SIGTERM)
