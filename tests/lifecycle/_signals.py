"""A server's part of SIGTERM, in this process."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.web._asking import make_probes

if TYPE_CHECKING:
    from probekit import Observer, Probes

__all__ = ["DELAY", "StandIn", "sigterm", "started", "state"]

DELAY = 0.15
"""Seconds for which the signal is held back."""


class StandIn:
    """Stands for a server: counts the SIGTERMs that reach its handler.

    Attributes:
        signals: When each came (monotonic seconds).
    """

    def __init__(self) -> None:
        self.signals: list[float] = []

    def handle(self, _number: int, _frame: object) -> None:
        """Take a signal."""
        self.signals.append(time.monotonic())


def started(drain_delay: float = DELAY, *observers: Observer) -> Probes:
    """Return Probes whose application has started in this thread."""
    probes = make_probes(drain_delay=drain_delay, observers=observers)
    probes.service.sigterm.arm()
    return probes


def sigterm() -> None:
    """Send SIGTERM to this process; its handler has run when this returns."""
    signal.raise_signal(signal.SIGTERM)


def state(*several: Probes) -> list[bool]:
    """Return of each whether it drains for good."""
    return [probes.draining is not None and probes.draining.final for probes in several]
