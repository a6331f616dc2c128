"""Refuse an option that there is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["refuse_unknown"]


def refuse_unknown(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ConfigurationError` if one of the names ``given`` is not among the ``known``."""
    known = sorted(known)
    for name in given:
        if name not in known:
            from difflib import get_close_matches  # costs more than all of `import probekit`

            alike = get_close_matches(name, known, n=1)
            remedy = f"did you mean {alike[0]!r}?" if alike else f"there are {', '.join(known)}"
            raise ConfigurationError(f"{where}: there is no option {name!r}; {remedy}")
