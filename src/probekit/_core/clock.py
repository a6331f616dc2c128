"""The two clocks, in one place so that a test can hold them."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where probekit reads the time."""

    def monotonic(self) -> float:
        """Return seconds that never go back; every age and deadline is measured with it."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch; every moment that a person reads comes from it."""
        ...


class SystemClock:
    """The clocks of the machine."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
