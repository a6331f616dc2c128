"""Why a command did not do what it should, by exit code.

::

    Exception
    └── Failure
        ├── Unwanted        1: the service answered, but not as wished
        └── CannotAsk       2: it could not be asked
            └── NoAnswer    2: likewise, but the next attempt may succeed
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["CannotAsk", "Failure", "NoAnswer", "Unwanted"]


class Failure(Exception):
    """One line for the operator: what, where, which value, and the remedy.

    Attributes:
        exit_code: What the command exits with.
    """

    exit_code: ClassVar[int]


class Unwanted(Failure):
    """The service answered, but not as wished."""

    exit_code = 1


class CannotAsk(Failure):
    """The service could not be asked."""

    exit_code = 2


class NoAnswer(CannotAsk):
    """No answer came this time; a process that is busy or overloaded may give the next one."""
