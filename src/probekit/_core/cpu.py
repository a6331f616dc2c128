"""The CPU time of a thread or a process, as Linux tells it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENOUGH", "seconds_of", "ticks_of"]

ENOUGH = 0.3
"""The share of a CPU from which on a thread or process is taken to compute: it gets more than that,
unless it is starved of it."""


def ticks_of(stat: Sequence[str]) -> int:
    """Return the CPU time that was used, in user mode and in the kernel, in ticks.

    Args:
        stat: The fields of its stat(5), from the third, its state, on.

    Raises:
        IndexError: If there are too few.
        ValueError: If they are no numbers.
    """
    return int(stat[11]) + int(stat[12])


def seconds_of(ticks: int) -> float:
    """Return the seconds that ``ticks`` of the kernel's clock are."""
    return ticks / os.sysconf("SC_CLK_TCK")
