"""What is odd about the names in ``?exclude=``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from probekit._core.model import Probe

__all__ = ["warnings_of"]

UNKNOWN_NAMES_SHOWN = 10


def warnings_of(probe: Probe, exclude: Iterable[str], known: Container[str]) -> tuple[str, ...]:
    """Return a sentence for each name that no check of the probe has; of many, for the first."""
    names = [name for name in dict.fromkeys(exclude) if name not in known]
    shown = names[:UNKNOWN_NAMES_SHOWN]
    warnings = [f"exclude: {probe.value} has no check {name[:50]!r}" for name in shown]
    if len(names) > len(shown):
        warnings.append(f"exclude: and {len(names) - len(shown)} more unknown names")
    return tuple(warnings)
