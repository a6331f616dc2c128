"""Where a number begins to be doubtful and where it is wrong, and what options may say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from probekit.exceptions import CheckFailure, ConfigurationError, Degraded, Unhealthy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Complaint", "Limits", "complain", "make_limits", "shown"]


class Complaint(NamedTuple):
    """One number that is beyond a limit.

    Attributes:
        kind: How bad that is.
        text: A sentence for the operator.
    """

    kind: type[CheckFailure]
    text: str


class Limits(NamedTuple):
    """The limits of one number, on one side of it.

    Attributes:
        degrade: Beyond this it degrades, or None.
        fail: Beyond this it fails, or None.
        upper: Whether beyond means above.
    """

    degrade: float | None
    fail: float | None
    upper: bool

    def crossed(self, value: float) -> tuple[type[CheckFailure], float] | None:
        """Return what ``value`` is and the limit that it is beyond; None if it is within both."""
        for kind, limit in ((Unhealthy, self.fail), (Degraded, self.degrade)):
            if limit is not None and (value > limit if self.upper else value < limit):
                return kind, limit
        return None


def make_limits(
    where: str,
    degrade: tuple[str, float | None],
    fail: tuple[str, float | None],
    *,
    upper: bool,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> Limits:
    """Return the limits that two options set.

    Args:
        where: Whose options they are.
        degrade: The option's name and value.
        fail: The same.
        upper: Whether the number may not be above them, rather than below.
        lowest: What makes sense at least.
        highest: What makes sense at most.

    Raises:
        ConfigurationError: One of them makes no sense, or degrading would come after failing.
    """
    for name, value in (degrade, fail):
        if value is not None and not (_is_number(value) and lowest <= value <= highest):
            raise ConfigurationError(
                f"{where}: {name} must be {_range(lowest, highest)}, got {value!r}; leave it out "
                "for no such limit"
            )
    limits = Limits(degrade[1], fail[1], upper)
    if limits.degrade is not None and limits.fail is not None:
        earlier = limits.degrade < limits.fail if upper else limits.degrade > limits.fail
        if not earlier:
            raise ConfigurationError(
                f"{where}: {degrade[0]} must be {'below' if upper else 'above'} {fail[0]}, or it "
                f"would never degrade; got {degrade[0]}={limits.degrade!r} and "
                f"{fail[0]}={limits.fail!r}"
            )
    return limits


def complain(complaints: Sequence[Complaint], detail: Mapping[str, object]) -> None:
    """Raise the worst of ``complaints``, with the text of all; return if there are none.

    Raises:
        Unhealthy: One of them is.
        Degraded: All of them are.
    """
    if complaints:
        failed = any(complaint.kind is Unhealthy for complaint in complaints)
        kind = Unhealthy if failed else Degraded
        raise kind("; ".join(complaint.text for complaint in complaints), detail=detail)


def shown(value: float) -> str:
    """Return a number as a person reads it: 1200000 and not 1.2e+06."""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def _is_number(value: object) -> bool:
    """Whether ``value`` is a finite int or float; no bool is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -math.inf < value < math.inf


def _range(lowest: float, highest: float) -> str:
    if math.isfinite(highest):
        return f"an int or a float from {lowest:g} to {highest:g}"
    return f"an int or a float >= {lowest:g}" if math.isfinite(lowest) else "an int or a float"
