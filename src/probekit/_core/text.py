"""What is a line for people to read."""

from __future__ import annotations

from typing import TypeGuard

__all__ = ["TEXT_LIMIT", "as_text", "is_text", "printable"]

TEXT_LIMIT = 200
"""Characters of a reason or a name."""


def is_text(value: object) -> TypeGuard[str]:
    """Whether ``value`` is one short line that can do no harm where it is shown."""
    return isinstance(value, str) and len(value) <= TEXT_LIMIT and value.isprintable()


def as_text(value: str) -> str:
    """Return the beginning of ``value``, with a question mark for what is not for people."""
    return printable(value[:TEXT_LIMIT])


def printable(value: str) -> str:
    """Return ``value`` with a question mark for what is not for people."""
    return "".join(each if each.isprintable() else "?" for each in value)
