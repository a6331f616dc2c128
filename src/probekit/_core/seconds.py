"""What is a number of seconds."""

from __future__ import annotations

from typing import TypeGuard

__all__ = ["LONGEST", "is_seconds"]

LONGEST = 1e9
"""Seconds: thirty years. Sums of two such times and today are still dates."""


def is_seconds(value: object, *, zero: bool = False) -> TypeGuard[float]:
    """Whether ``value`` is a number above zero, or (``zero``) not below it; no bool is.

    Nor is what no clock can count to: infinity, or more than `LONGEST`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value <= LONGEST or (zero and value == 0)
