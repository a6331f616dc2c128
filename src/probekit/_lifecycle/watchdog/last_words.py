"""What a process that is stuck leaves behind: log, termination log, exit status."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.watchdog.stall import Stall

__all__ = ["EXIT_STATUS", "LastWords"]

logger = logging.getLogger("probekit")

TERMINATION_LOG = Path("/dev/termination-log")
"""What Kubernetes shows of a container that has ended."""

LONGEST = 2048
"""Bytes of that."""

PATIENCE = 1.0
"""Seconds that logging has: what the process is stuck in may be its log."""

PAUSE = 0.05
"""Seconds after which it is looked whether that still matters."""

EXIT_STATUS = 70
"""What sysexits.h calls an internal error; with 3 and 4 gunicorn's master would end as well."""


def always() -> bool:
    """Say that it stands still, or is to be waited for as if it did."""
    return True


class LastWords:
    """Says that the process is stuck, in every place that may outlast it.

    What takes a ``still`` asks it again and again whether the process stands still, and waits no
    longer when it does not.

    Args:
        termination_log: Where the platform looks for the reason.
        leave: What ends the process; it asks nobody, since who is stuck cannot answer.
        patience: Seconds to wait for the log.
    """

    def __init__(
        self,
        *,
        termination_log: Path = TERMINATION_LOG,
        leave: Callable[[int], object] = os._exit,
        patience: float = PATIENCE,
    ) -> None:
        self._termination_log = termination_log
        self._leave = leave
        self._patience = patience
        self._written = b""

    def stuck(self, stall: Stall, seconds: float, still: Callable[[], bool]) -> None:
        """Say what the process is stuck in."""
        self._written = excerpt(f"probekit: process {os.getpid()} is stuck: {stall}", stall.stack)
        self._replace(self._written)
        self._bounded(
            lambda: logger.error(
                "process %d has been stuck for %.1f s: %s\n%s",
                os.getpid(),
                seconds,
                stall,
                stall.stack or "  where, nobody knows",
            ),
            still,
        )

    def starved(self, seconds: float) -> None:
        """Say that it would move if it got a CPU; nothing of it is to be ended for that."""
        self._bounded(
            lambda: logger.warning(
                "process %d has stood still for %.1f s, starved of CPU: it wants one and gets next "
                "to none, so it does not count as stuck; see to its CPU limit and its neighbours",
                os.getpid(),
                seconds,
            )
        )

    def over(self, stall: Stall, seconds: float) -> None:
        """Say that it moves again; what ends it one day is something else."""
        with suppress(OSError):
            if self._termination_log.read_bytes() == self._written:
                self._replace(b"")
        self._bounded(
            lambda: logger.warning(
                "process %d moves again, after %.1f s: %s", os.getpid(), seconds, stall
            )
        )

    def stays(self, why: str, still: Callable[[], bool] = always) -> None:
        """Say why it is not ended."""
        self._bounded(
            lambda: logger.error("on_stuck='exit': process %d stays, since %s", os.getpid(), why),
            still,
        )

    def leave(self, still: Callable[[], bool]) -> None:
        """End the process when all is said or the patience is over, unless it moves by then."""
        said = still() and self._bounded(
            lambda: logger.critical(
                "on_stuck='exit': process %d ends (status %d), for the server to start another",
                os.getpid(),
                EXIT_STATUS,
            ),
            still,
        )
        if not still():
            self.stays("it moves again")
            return
        if said:  # after this it has to end: its log is closed
            self._bounded(logging.shutdown)
        self._leave(EXIT_STATUS)

    def _bounded(self, speak: Callable[[], None], still: Callable[[], bool] = always) -> bool:
        """Speak in a thread; return whether that came to its end while it was waited for."""
        thread = threading.Thread(target=speak, name="probekit:last-words", daemon=True)
        deadline = time.monotonic() + self._patience
        try:
            thread.start()
        except RuntimeError:
            # Threads may be what the process is stuck for; its end must not depend on one more.
            return False
        # It comes first, or it might be said to be over before it is said to have begun.
        thread.join(min(PAUSE, self._patience))
        while thread.is_alive() and time.monotonic() < deadline and still():
            thread.join(PAUSE)
        return not thread.is_alive()

    def _replace(self, content: bytes) -> None:
        with suppress(OSError):
            # Not made where it is not: only a container has it.
            flags = os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(self._termination_log, flags)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)


def excerpt(title: str, stack: str) -> bytes:
    """Return the title and as much of the end of the stack as there is room for."""
    head = f"{title}\n".encode()[:LONGEST]
    tail = stack.encode()
    room = LONGEST - len(head)
    return head + (tail if len(tail) <= room else tail[len(tail) - room :].partition(b"\n")[2])
