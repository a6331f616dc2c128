"""The answers that are given beside the application's loop, whether or not that turns."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from probekit._core.loops import nothing
from probekit._core.model import Probe, Status
from probekit._lifecycle.pod.lines import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probekit._core.model import Report
    from probekit._core.state import CheckState
    from probekit._lifecycle.pod.records import Worker
    from probekit._lifecycle.service import Service

__all__ = ["Aside"]

logger = logging.getLogger("probekit")

TAKEN_WITHIN = 0.8
"""Seconds that a loop has to take the question of readiness: longer than a busy moment, and short
enough for the answer to reach a prober that waits for a second."""
TAKEN_BY_LIVENESS_WITHIN = 0.2
"""Seconds that it has to take that of liveness, whose last known results are as good."""


class Aside:
    """Asks a service from beside its application's loop, which may stand still.

    Args:
        service: What to ask.
        lends_loop: Whether probekit's own loop runs the checks while the application has none: it
            would be the wrong one for checks that belong to a lifespan.
        shows_where: Whether file and line of what holds the process are told.
    """

    def __init__(self, service: Service, *, lends_loop: bool, shows_where: bool) -> None:
        self._service = service
        self._lends_loop = lends_loop
        self._shows_where = shows_where
        self._blamed: int | None = None

    async def report(
        self,
        probe: Probe,
        *,
        only: str | None = None,
        exclude: Iterable[str] = (),
        asked: Callable[[], object] = nothing,
    ) -> Report:
        """Return the answer to ``probe``, as `Service.report` does."""
        service = self._service
        report = await service.report(probe, only=only, exclude=exclude, ask=self._ask, asked=asked)
        if probe is not Probe.LIVENESS or report.message is not None:
            return report
        # Not where the observers are told: it is no status of this process, whose own port answers
        # for itself alone, and the two would tell of a change by turns.
        if (stuck := self._stuck_worker()) is not None:
            return report._replace(status=Status.UNHEALTHY, message=stuck)
        if service.saturated:
            return report._replace(message="saturated: all threads are busy")
        return report

    async def _ask(self, probe: Probe, states: list[CheckState]) -> str | None:
        """Run what must be run; say what beside the checks stands against a passing answer."""
        service = self._service
        if probe is not Probe.STARTUP and (stuck := self._stuck()) is not None:
            return stuck
        if probe is Probe.LIVENESS:
            if states and self._may_run():
                await self._refresh(states, TAKEN_BY_LIVENESS_WITHIN)
            return None
        if service.phase == "starting" or (
            probe is Probe.STARTUP and all(each.latched for each in states)
        ):
            return None
        began = service.clock.monotonic()
        taken = self._may_run() and await self._refresh(states, TAKEN_WITHIN)
        if not self._may_run():  # it may end while it is asked
            return "the application has ended"
        if taken:
            return None
        still = max(service.engine.heartbeat.lag, service.clock.monotonic() - began)
        why = ", starved of CPU" if service.watchdog.loop_starved else ""
        what = f"the event loop has stood still for {still:.1f} s{why}"
        return f"{what}, so the checks could not be asked"

    async def _refresh(self, states: list[CheckState], taken_within: float) -> bool:
        refresh = self._service.engine.refresh
        return await refresh(states, taken_within=taken_within, lend=self._lends_loop)

    def _may_run(self) -> bool:
        service = self._service
        return service.phase != "starting" and (self._lends_loop or service.engine.lives)

    def _stuck(self) -> str | None:
        service = self._service
        if (stall := service.stall) is None:
            return None
        what = "application" if service.engine.lent else "event loop"
        still = service.clock.monotonic() - stall.since
        return f"the {what} has stood still for {still:.1f} s{self._where(str(stall))}"

    def _stuck_worker(self) -> str | None:
        """Say which other worker of the server is stuck, or so stuck that it cannot even say so.

        The log has it once, since what says nothing has logged nothing either.
        """
        now, own = self._service.clock.monotonic(), os.getpid()
        for worker in self._service.pod.workers():
            if worker.pid != own and (what := self._complaint(worker, now)):
                if self._blamed != worker.pid:
                    self._blamed = worker.pid
                    logger.warning(
                        "the side port answers liveness with 503: worker %d: %s", worker.pid, what
                    )
                return f"worker {worker.pid}: {what}"
        self._blamed = None
        return None

    def _complaint(self, worker: Worker, now: float) -> str:
        if worker.stuck:
            return f"stuck{self._where(worker.stuck)}"
        silent = now - worker.at
        if worker.stuck_after and silent > worker.stuck_after + GRACE:
            return f"has said nothing for {silent:.1f} s, and is there"
        return ""

    def _where(self, what: str) -> str:
        return f": {what}" if self._shows_where else ""
