"""Two `Probes` that share their state as two workers do, in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes
    from probekit.probes import Clock

__all__ = ["seen_by", "twins"]


def twins(
    shared: Callable[..., Probes], *, others: Clock | None = None, **options: Any
) -> tuple[Probes, Probes]:
    """Return two made by ``shared``; the second has the clock ``others``, if there is one."""
    one = shared(**options)
    other = shared(**options | ({} if others is None else {"clock": others}))
    other.service.pod._prefix = one.service.pod._prefix
    other.service.pod._forget()
    return one, other


def seen_by(probes: Probes) -> str | None:
    """Look, however short ago the last look was, and return why it drains."""
    probes.service.drain._looked = -1e9
    probes.service.drain.look()
    return None if probes.draining is None else probes.draining.reason
