"""The process's one place before whatever handles SIGTERM, for all its applications together."""

from __future__ import annotations

import logging
import math
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from probekit._lifecycle.plan import Plan

__all__ = ["RELAY", "Relay"]

logger = logging.getLogger("probekit")

DUPLICATE = 1.0
"""Seconds. systemd signals the whole group and a supervisor sends its own on top: a second signal
so soon is the first one again, not impatience."""


class Member(Protocol):
    """An application that leaves when the signal comes."""

    plan: Plan

    def turn(self) -> None:
        """Turn unready; called in a signal handler."""
        ...

    def turned(self) -> None:
        """Tell everybody; called from a thread, soon after."""
        ...


class Layer:
    """One place in the chain of handlers, with what was below when it was put there."""

    __slots__ = ("_relay", "below")

    def __init__(self, relay: Relay, below: Any) -> None:
        self._relay = relay
        self.below = below

    def __call__(self, signum: int, frame: object) -> None:
        """Handle the signal."""
        self._relay.came(self, signum, frame)


def is_on_top(layer: Layer) -> bool:
    """Whether the signal reaches ``layer`` before any other handler."""
    top: object = signal.getsignal(signal.SIGTERM)
    return top is layer


class Relay:
    """Turns all members at the first signal and passes it on after the longest of their delays.

    At the next signal, or when the time is up, what was there before is put back and gets the
    signal. The handler changes state and nothing else, since it can interrupt any code, itself
    included: no lock, no log, no new thread.
    """

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._layer: Layer | None = None
        self._since: float | None = None
        self._plan: Plan | None = None
        self._turns: queue.SimpleQueue[Plan | None] = queue.SimpleQueue()

    def join(self, member: Member) -> None:
        """Take the signal over for ``member``; in the main thread, which alone may."""
        if not self._members:
            self._since = None
            self._turns = queue.SimpleQueue()
            # A thread cannot be started in a signal handler, so it waits from now on.
            threading.Thread(
                target=self._wait, args=(self._turns,), name="probekit:sigterm", daemon=True
            ).start()
        self._members.append(member)
        if self._layer is None or not is_on_top(self._layer):
            # A new one each time: whoever stands between may call the old one, which steps aside.
            self._layer = layer = Layer(self, signal.getsignal(signal.SIGTERM))
            signal.signal(signal.SIGTERM, layer)
        if self._since is not None:
            member.turn()

    def leave(self, member: Member) -> None:
        """Do nothing more for ``member``; put back what was there before the last one came."""
        self._members.remove(member)
        if self._members:
            return
        self._turns.put(None)
        layer, self._layer = self._layer, None
        in_main = threading.current_thread() is threading.main_thread()
        if layer is not None and in_main and is_on_top(layer):
            signal.signal(signal.SIGTERM, layer.below)

    def came(self, layer: Layer, signum: int, frame: object) -> None:
        """Handle the signal that reached ``layer``."""
        now = time.monotonic()
        if layer is not self._layer:
            layer.below(signum, frame)  # whoever stands above could not know that it is over
        elif self._since is None or self._plan is None:
            self._since = now
            self._plan = max(member.plan for member in self._members)
            for member in self._members:
                member.turn()
            self._turns.put(self._plan)
        elif now - self._since > min(DUPLICATE, self._plan.drain_delay):
            self._release(layer, signum, frame)

    def _release(self, layer: Layer, signum: int, frame: object) -> None:
        self._layer = None
        if is_on_top(layer):
            signal.signal(signal.SIGTERM, layer.below)
            signal.raise_signal(signal.SIGTERM)
        else:
            layer.below(signum, frame)

    def _wait(self, turns: queue.SimpleQueue[Plan | None]) -> None:
        plan = turns.get()
        if plan is None:
            return
        for member in tuple(self._members):
            member.turned()
        logger.warning(
            "SIGTERM: draining; readiness answers 503 while everything is served as before, and "
            "the server gets the signal in %g s (%s)",
            plan.drain_delay,
            plan.source,
        )
        time.sleep(plan.drain_delay)
        if self._turns is turns and self._members and self._layer is not None:
            logger.warning(
                "SIGTERM: drained for %g s; handing the signal to the server", plan.drain_delay
            )
            self._since = -math.inf  # "time is up" and "second signal" are one path
            # Not os.kill: the main thread itself may be in a wait that only a signal interrupts.
            signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGTERM)


RELAY = Relay()
"""The one of this process: a signal is the process's, however many applications there are."""
