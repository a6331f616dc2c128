"""A measured figure, how it is measured beside another, and the table of them all."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Figure", "interleaved", "p99", "ratio", "table"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What is measured.
        measured: The ratio or the number.
        unit: "x" for a ratio.
        target: What it may be at most; None: it is shown for what it is.
        how: The two sides of the ratio, or where the number comes from.
    """

    name: str
    measured: float
    unit: str = "x"
    target: float | None = None
    how: str

    @property
    def ok(self) -> bool:
        """Whether the target is reached."""
        return self.target is None or self.measured <= self.target


def interleaved(
    measures: Mapping[str, Callable[[], float]], *, rounds: int
) -> dict[str, list[float]]:
    """Measure everything once a round, in turning order, so that noise meets all alike.

    The first round warms up and does not count.
    """
    names = list(measures)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        names.append(names.pop(0))
        for name in names:
            value = measures[name]()
            if number:
                found[name].append(value)
    return found


def ratio(of: Iterable[float], to: Iterable[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(one / other for one, other in zip(of, to, strict=True))


def p99(values: list[float]) -> float:
    """Return what one value in a hundred exceeds."""
    return quantiles(values, n=100)[-1]


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as lines of text."""
    rows = [("measured", "target", "", "what", "")]
    rows += [
        (
            f"{figure.measured:.2f} {figure.unit}",
            "-" if figure.target is None else f"{figure.target:.2f} {figure.unit}",
            "" if figure.target is None else "ok" if figure.ok else "OVER",
            figure.name,
            figure.how,
        )
        for figure in figures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{row[0]:>{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  "
        f"{row[3]:<{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]
    return "\n".join(lines)
