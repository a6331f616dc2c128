"""When a timeout says nothing because the loop stood still, and for how long that is believed."""

from __future__ import annotations

__all__ = ["Excuse"]

LEAST = 0.1
"""Seconds that a run must have lost; a beat is not measured more exactly than this."""

SHARE = 0.2
"""Of the timeout, what a run must have lost. A hiccup excuses no long wait: that has been made
longer by as much."""

IN_A_ROW = 3
"""Timeouts that are excused without a success between them."""

LONGEST = 10.0
"""Seconds after the first of them in which others are excused: the kubelet's default period, so
that a dead dependency is found out by the next probe but one at the latest."""


class Excuse:
    """The timeouts of one check that a blocked loop was blamed for since the check last passed.

    It runs out, or a loop that always lags would hide a dependency that is dead. It is counted from
    the first of them and not from the last success: a check may have been asked long ago.
    """

    __slots__ = ("_since", "granted")

    def __init__(self) -> None:
        self.granted = 0
        self._since = 0.0

    def grant(self, lost: float, *, timeout: float, now: float) -> bool:
        """Whether a timeout is excused by ``lost`` seconds in which the loop stood still."""
        if lost < max(LEAST, SHARE * timeout):
            return False
        if not self.granted:
            self._since = now
        elif self.granted >= IN_A_ROW or now - self._since >= LONGEST:
            return False
        self.granted += 1
        return True
