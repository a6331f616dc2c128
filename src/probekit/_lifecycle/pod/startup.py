"""Which startup checks have passed in any worker, as all of them read it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from probekit._lifecycle.pod import files

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["Passed"]


class Passed:
    """The startup checks with which a worker has passed, those of all workers together.

    Workers with other code, after a reload, may have other checks; none of them has been seen to
    pass.

    Args:
        name: The file's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._checks: frozenset[str] | None = None

    def includes(self, checks: AbstractSet[str]) -> bool:
        """Whether the startup of a worker with these critical checks is known to have passed."""
        return self._checks is not None and checks <= self._checks

    def read(self, directory: int) -> None:
        """Learn what others have noted.

        Raises:
            ForeignError: If what stands there makes no sense.
            OSError: If it cannot be read.
        """
        content = files.read(directory, self._name)
        if content is not None:
            self.add(checks_of(content))

    def add(self, checks: AbstractSet[str]) -> None:
        """Know of these, too."""
        self._checks = frozenset(checks) | (self._checks or frozenset())

    def write(self, directory: int) -> None:
        """Note for the others what is known here.

        Raises:
            OSError: If it cannot be written.
        """
        content = {"pid": os.getpid(), "checks": sorted(self._checks or ())}
        files.write(directory, self._name, content)


def checks_of(content: dict[str, Any]) -> frozenset[str]:
    """Return the names of the checks that passed.

    Raises:
        ForeignError: If they are no names.
    """
    # An older version named none: that speaks for a worker without checks, and for no other.
    checks: object = content.get("checks", [])
    if isinstance(checks, list) and all(isinstance(name, str) for name in cast("Any", checks)):
        return frozenset(cast("list[str]", checks))
    raise files.ForeignError("the note of the startup makes no sense")
