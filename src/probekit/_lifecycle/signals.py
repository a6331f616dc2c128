"""SIGTERM means: turn unready, go on serving, and only then hand the signal to the server."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING

from probekit._lifecycle.relay import RELAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.drain import DrainSwitch
    from probekit._lifecycle.plan import Plan

__all__ = ["Sigterm"]

logger = logging.getLogger("probekit")


class Sigterm:
    """What SIGTERM means to one application.

    Args:
        switch: What to turn.
        plan: How long to wait.
        turned: Told, from a thread, that the signal turned the switch.

    Attributes:
        plan: How long to wait, and why so long.
        turned: As given.
    """

    def __init__(self, *, switch: DrainSwitch, plan: Plan, turned: Callable[[], None]) -> None:
        self._switch = switch
        self.plan: Plan = plan
        self.turned: Callable[[], None] = turned
        self._armed = False
        self._came = False
        self._status = "not armed: no lifespan has begun"

    @property
    def status(self) -> str:
        """Whether the signal will drain first, or why not, or that it came."""
        return "came: the process is leaving" if self._came else self._status

    def arm(self) -> None:
        """Take the signal over, if this thread may and somebody handles it."""
        if self._armed:
            return
        obstacle = self._obstacle()
        if obstacle is not None:
            self._status = obstacle
            level = logging.INFO if obstacle.startswith("off") else logging.WARNING
            logger.log(level, "SIGTERM will not drain first: %s", obstacle)
            return
        RELAY.join(self)
        self._armed = True
        self._status = "armed"
        logger.info(
            "on SIGTERM: drain for %g s (%s), then hand it to the server",
            self.plan.drain_delay,
            self.plan.source,
        )

    def disarm(self) -> None:
        """Let the signal go its own way again."""
        if self._armed:
            self._armed = False
            self._status = "not armed: the lifespan has ended"
            RELAY.leave(self)

    def turn(self) -> None:
        """Turn unready for good; called in a signal handler."""
        self._came = True
        self._switch.finish(reason="SIGTERM")

    def _obstacle(self) -> str | None:
        if self.plan.drain_delay == 0:
            return f"off: drain_delay is 0 ({self.plan.source})"
        if threading.current_thread() is not threading.main_thread():
            return "unsupported: the application does not run in the main thread"
        below = signal.getsignal(signal.SIGTERM)
        loop = asyncio._get_running_loop()  # the form that does not raise
        owned = signal.SIGTERM in getattr(loop, "_signal_handlers", {})  # asyncio
        if owned or (loop is not None and getattr(below, "__self__", None) is loop):  # uvloop
            return "unsupported: the event loop owns SIGTERM; call probes.drain() before it comes"
        if not callable(below):
            return "unsupported: the server has no SIGTERM handler to hand the signal to"
        return None
