"""An application in service in this process, without a server."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from collections.abc import Generator

    from probekit import Probes

__all__ = ["serving"]


@contextmanager
def serving(probes: Probes) -> Generator[None]:
    """Be an application in service, on a loop of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(probes.lifespan()),
    ):
        yield
