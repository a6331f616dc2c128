"""What is a number of seconds."""

from __future__ import annotations

import math
from typing import TypeGuard

__all__ = ["is_seconds"]


def is_seconds(value: object, *, zero: bool = False) -> TypeGuard[float]:
    """Whether ``value`` is a finite number above zero, or (``zero``) not below it; no bool is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return value > 0 or (zero and value == 0)
