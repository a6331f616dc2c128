"""SIGTERM means: turn unready, go on serving, and only then hand the signal to the server."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.drain import DrainSwitch
    from probekit._lifecycle.plan import Plan

__all__ = ["Sigterm"]

logger = logging.getLogger("probekit")

DUPLICATE = 1.0
"""Seconds. systemd signals the whole group and a supervisor sends its own on top: a second signal
so soon is the first one again, not impatience."""


class Sigterm:
    """Stands before the server's own SIGTERM handler.

    The first signal drains. After ``drain_delay``, or at the next signal, what was there before is
    put back and gets the signal. The handler changes state and nothing else, since it can interrupt
    any code, itself included: no lock, no log, no new thread.

    Args:
        switch: What to turn.
        plan: How long to wait.
        turned: Told, from a thread, that a signal turned the switch.
    """

    def __init__(self, *, switch: DrainSwitch, plan: Plan, turned: Callable[[], None]) -> None:
        self._switch = switch
        self._plan = plan
        self._turned = turned
        self._below: Any = None
        self._armed = False
        self._since: float | None = None
        self._turns: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._status = "not armed: no lifespan has begun"

    @property
    def status(self) -> str:
        """Whether the signal will drain first, or why not, or that it came."""
        return self._status if self._since is None else "came: the process is leaving"

    @property
    def drain_delay(self) -> float:
        """Seconds between the signal and its hand-over."""
        return self._plan.drain_delay

    def arm(self) -> None:
        """Take the signal over, if this thread may and somebody handles it."""
        if self._armed:
            return
        obstacle = self._obstacle()
        self._status = obstacle or "armed"
        if obstacle is not None:
            level = logging.INFO if obstacle.startswith("off") else logging.WARNING
            logger.log(level, "SIGTERM will not drain first: %s", obstacle)
            return
        self._below = signal.getsignal(signal.SIGTERM)
        self._turns = queue.SimpleQueue()
        # A thread cannot be started in a signal handler, so it waits from now on.
        threading.Thread(
            target=self._wait, args=(self._turns,), name="probekit:sigterm", daemon=True
        ).start()
        signal.signal(signal.SIGTERM, self._handle)
        self._armed = True
        logger.info(
            "on SIGTERM: drain for %g s (%s), then hand it to the server",
            self._plan.drain_delay,
            self._plan.source,
        )

    def disarm(self) -> None:
        """Stand aside; put back what was there before, if nothing stands above."""
        if not self._armed:
            return
        self._armed = False
        self._turns.put(None)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._below)
        self._status = "not armed: the lifespan has ended"

    def _obstacle(self) -> str | None:
        if self._plan.drain_delay == 0:
            return f"off: drain_delay is 0 ({self._plan.source})"
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

    def _handle(self, signum: int, frame: object) -> None:
        now = time.monotonic()
        if not self._armed:
            # Whoever stands above could not know that we stood aside.
            self._below(signum, frame)
        elif self._since is None:
            self._turns.put(self._turn(now))
        elif now - self._since > min(DUPLICATE, self._plan.drain_delay):
            self._release()

    def _turn(self, now: float) -> float:
        """Turn the switch, and those of the others below; return the longest delay of all."""
        self._since = now
        self._switch.finish(reason="SIGTERM")
        delay = self._plan.drain_delay
        if (other := self._next_below()) is not None:
            delay = max(delay, other._turn(now))
            other._turns.put(0.0)
        return delay

    def _next_below(self) -> Sigterm | None:
        """Return the one of another application in this process that stands right below."""
        other = getattr(self._below, "__self__", None)
        return other if isinstance(other, Sigterm) and other._armed else None

    def _release(self) -> None:
        self._armed = False
        signal.signal(signal.SIGTERM, self._below)
        signal.raise_signal(signal.SIGTERM)

    def _wait(self, turns: queue.SimpleQueue[float | None]) -> None:
        delay = turns.get()
        if delay is None:
            return
        self._turned()
        if delay == 0.0:
            return  # another one waits for all
        logger.warning(
            "SIGTERM: draining; readiness answers 503 while everything is served as before, and "
            "the server gets the signal in %g s (%s)",
            delay,
            self._plan.source,
        )
        time.sleep(delay)
        if self._armed or self._next_below() is not None:
            logger.warning("SIGTERM: drained for %g s; handing the signal to the server", delay)
            self._since = -math.inf  # "time is up" and "second signal" are one path
            # Not os.kill: the main thread itself may be in a wait that only a signal interrupts.
            signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGTERM)
