"""What is a number of seconds, and what is a count."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LONGEST", "is_count", "is_seconds", "refuse_count", "refuse_seconds", "seconds_fault"]

LONGEST = 1e9
"""Seconds: thirty years. Sums of two such times and today are still dates."""


def is_seconds(value: object, *, zero: bool = False) -> TypeGuard[float]:
    """Whether ``value`` is a number above zero, or (``zero``) not below it; no bool is.

    Nor is what no clock can count to: infinity, or more than `LONGEST`.
    """
    return seconds_fault(value, least=0 if zero else None) is None


def seconds_fault(value: object, *, least: float | None = None) -> str | None:
    """Return what ``value`` must be to be a usable number of seconds; None if it is one.

    Args:
        value: What was given.
        least: The smallest that is usable, in seconds; None: any above zero.
    """
    if not isinstance(value, bool) and isinstance(value, int | float):
        if value > LONGEST:
            return "must be at most 1e9 seconds"
        if value > 0 if least is None else value >= least:
            return None
    return f"must be {'> 0' if least is None else f'>= {least:g}'} seconds"


def refuse_seconds(
    where: str,
    option: str,
    value: object,
    *,
    least: float | None = None,
    remedy: str = "",
    shown: Callable[[object], str] = repr,
) -> None:
    """Refuse what is no usable number of seconds.

    Args:
        where: Whose option it is.
        option: What it is called.
        value: What was given.
        least: As for `seconds_fault`.
        remedy: What else to say, if more than the bound helps.
        shown: Writes a value as whoever gave it would.

    Raises:
        ConfigurationError: If it is none; the text says where, which option, which value and what
            is wanted.
    """
    if (fault := seconds_fault(value, least=least)) is not None:
        raise ConfigurationError(_sentence(where, f"{option} {fault}", shown(value), remedy))


def is_count(value: object, *, least: int = 1) -> TypeGuard[int]:
    """Whether ``value`` is a whole number of at least ``least``; no bool is."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def refuse_count(
    where: str, option: str, value: object, *, least: int = 1, remedy: str = ""
) -> None:
    """Refuse what is no whole number of at least ``least``; the arguments are `refuse_seconds`'s.

    Raises:
        ConfigurationError: If it is none.
    """
    if not is_count(value, least=least):
        fault = f"{option} must be a whole number >= {least}"
        raise ConfigurationError(_sentence(where, fault, repr(value), remedy))


def _sentence(where: str, fault: str, value: str, remedy: str) -> str:
    return f"{where}: {fault}, got {value}{f'; {remedy}' if remedy else ''}"
