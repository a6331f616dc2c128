"""What is said of names that a question leaves out, though no check has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from probekit._core.model import Probe

__all__ = ["unknown_names"]

SHOWN = 10


def unknown_names(probe: Probe, known: Container[str], exclude: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each name in ``exclude`` that is not ``known``, up to a limit."""
    names = [name for name in dict.fromkeys(exclude) if name not in known]
    shown = names[:SHOWN]
    warnings = [f"exclude: {probe.value} has no check {name[:50]!r}" for name in shown]
    if len(names) > len(shown):
        warnings.append(f"exclude: and {len(names) - len(shown)} more unknown names")
    return tuple(warnings)
