"""How many of each kind there were lately, in constant memory."""

from __future__ import annotations

__all__ = ["Window"]

BUCKETS = 60
"""Into how many parts a window is divided; it moves on by one of them at a time."""

NEVER = -(1 << 62)


class Window:
    """Two counts over the last so many seconds, in a ring of buckets.

    What is younger than ``seconds`` counts, and what is older by more than a sixtieth of it does
    not. Not thread-safe.

    Args:
        seconds: How far back it looks.
    """

    __slots__ = ("_bad", "_good", "_marks", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        # One more, since the newest bucket has only begun.
        self._marks = [NEVER] * (BUCKETS + 1)
        self._good = [0] * (BUCKETS + 1)
        self._bad = [0] * (BUCKETS + 1)

    def add(self, now: float, *, good: int = 0, bad: int = 0) -> None:
        """Count what happened at ``now`` (monotonic seconds)."""
        mark = int(now // self._width)
        place = mark % (BUCKETS + 1)
        if self._marks[place] != mark:
            self._marks[place] = mark
            self._good[place] = self._bad[place] = 0
        self._good[place] += good
        self._bad[place] += bad

    def sums(self, now: float) -> tuple[int, int]:
        """Return how many good and bad ones there were in the window that ends at ``now``."""
        newest = int(now // self._width)
        places = [
            place for place, mark in enumerate(self._marks) if newest - BUCKETS <= mark <= newest
        ]
        return sum(self._good[place] for place in places), sum(self._bad[place] for place in places)
