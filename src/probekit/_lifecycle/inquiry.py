"""A worker that no prober meets asks itself, so that the others can tell how it is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from probekit._core.loops import nothing
from probekit._core.model import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probekit._core.state import CheckState
    from probekit._lifecycle.service import Service

__all__ = ["Inquiry"]

FIRST = 2.0
"""Seconds within which a worker asks itself at first: workers that are started together must not
knock at the database together, nor before the probers, who will spare most of them the trouble."""
AGAIN = 5.0
"""Seconds after which a worker that is not ready asks itself again."""


class Inquiry:
    """Whether a worker is ready, by what its checks have said, and what makes them say it.

    A prober reaches whichever worker takes the connection: of several that have nothing to do,
    mostly the same. What stands in the line of another would be what it said when it was last
    asked, be it never, or in an outage that is over.

    Args:
        service: Whose.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._due: float | None = None

    @property
    def ready(self) -> bool | None:
        """Whether readiness passes, from what is known; None: nothing fails, and not all is known.

        Not all is known until each critical check has run once.
        """
        peek = self._service.peek
        report = peek(Probe.READINESS)
        if report.passing or report.draining is not None:
            return report.passing
        against = [
            result
            for result in [*report.checks.values(), *peek(Probe.STARTUP).checks.values()]
            if result.critical and not result.status.passing
        ]
        return None if against and all(result.since is None for result in against) else False

    def keep(self) -> None:
        """Have the checks run that stand against readiness, every so often; from any thread."""
        service = self._service
        now = service.clock.monotonic()
        if self._due is None:
            self._due = now + random.uniform(0, FIRST)  # noqa: S311 - no secret
        if now < self._due or service.drain.state is not None or not [*self._wanting()]:
            return
        self._due = now + AGAIN
        spawn = service.engine.spawn_threadsafe
        spawn(self._ask, name="probekit:inquiry", timeout=AGAIN, overdue=nothing)

    async def _ask(self) -> None:
        if not self._service.engine.stopped:
            await self._service.engine.refresh(self._wanting())

    def _wanting(self) -> Iterator[CheckState]:
        """Yield the critical checks that do not pass; a startup check counts until it has."""
        for probe in (Probe.STARTUP, Probe.READINESS):
            for state in [*self._service.engine.states[probe].values()]:
                if state.check.critical and not state.latched and not state.result.status.passing:
                    yield state
