"""What a process answers to the three questions, from its checks, its drain and its phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from probekit._core.loops import nothing
from probekit._core.model import Probe, Report, Status
from probekit._core.unknown import unknown_names
from probekit._core.verdict import aggregate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from probekit._core.clock import Clock
    from probekit._core.engine import Engine
    from probekit._core.model import CheckResult
    from probekit._core.observer import Observers
    from probekit._core.state import CheckState
    from probekit._lifecycle.drain import DrainSwitch
    from probekit._lifecycle.pod.pod import Pod

    Ask: TypeAlias = Callable[[Probe, list[CheckState]], Awaitable[str | None]]

__all__ = ["Answers", "Phase"]

Phase: TypeAlias = Literal["idle", "starting", "started"]

AGES_SHOWN = 0.1
"""Seconds for which an answer may be repeated, since the ages in it are rounded to this."""


class Answers:
    """The half of a service that is asked; what it goes by is the other's.

    Attributes:
        clock: The clocks.
        pod: What all workers of the server share.
        observers: Who is told.
        engine: Runs the checks.
        drain: The switch that takes the process out of service.
    """

    clock: Clock
    pod: Pod
    observers: Observers
    engine: Engine
    drain: DrainSwitch

    def __init__(self) -> None:
        self._phase: Phase = "idle"
        self._last_status: dict[Probe, Status] = {}

    @property
    def phase(self) -> Phase:
        """Whether the application's startup has begun, or is complete."""
        return self._phase

    async def report(
        self,
        probe: Probe,
        *,
        only: str | None = None,
        exclude: Iterable[str] = (),
        ask: Ask | None = None,
        asked: Callable[[], object] = nothing,
    ) -> Report:
        """Run what must be run and return the answer; see `Probes.report`.

        ``ask`` runs that instead, and says what beside it stands against passing; ``asked`` is
        called between that and the look at the results.
        """
        all_states, exclude = self.engine.states[probe], tuple(exclude)
        states = dict(all_states)  # whatever is declared meanwhile is for the next answer
        if only is not None:
            states = {only: all_states[only]}
        elif without := set(exclude):
            states = {name: state for name, state in states.items() if name not in without}
        due = [*states.values()]
        if probe is Probe.READINESS and only is None:
            due += self._startup_pending()
        beside = None if ask is None else await ask(probe, due)
        if ask is None:
            await self.engine.refresh(due)
        asked()
        if only is not None:
            return self._assemble(probe, states, obstacle=beside)
        report = self._assemble(
            probe,
            states,
            obstacle=beside or self._obstacle(probe),
            warnings=unknown_names(probe, all_states, exclude),
        )
        if not exclude:
            if probe is Probe.STARTUP:
                report = self._of_the_pod(report)
            self._told_of(report)
        return report

    def _of_the_pod(self, startup: Report) -> Report:
        """Return the answer that all workers give: the platform asks whichever, and once."""
        checks = {name for name, result in startup.checks.items() if result.critical}
        if startup.passing:
            self.pod.start(checks)
        elif self.pod.has_started(checks):
            message = "it has passed in another worker of this server"
            return startup._replace(status=Status.HEALTHY, message=message)
        return startup

    def peek(self, probe: Probe) -> Report:
        """Return the answer from what is known already; nothing is run."""
        states = dict(self.engine.states[probe])  # another thread may ask
        return self._assemble(probe, states, obstacle=self._obstacle(probe))

    def answered(self, probe: Probe, code: int) -> None:
        """Tell the observers that a probe request was answered."""
        for on_answer in self.observers.on_answer:
            on_answer(probe, code)

    def _assemble(
        self,
        probe: Probe,
        states: Mapping[str, CheckState],
        *,
        obstacle: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Report:
        now = self.clock.monotonic()
        results: dict[str, CheckResult] = {}
        valid_until = now + AGES_SHOWN
        for name, state in states.items():
            results[name], until = state.view(now)
            valid_until = min(valid_until, until)
        status = aggregate(probe, results.values()) if obstacle is None else Status.UNHEALTHY
        return Report(
            probe=probe,
            status=status,
            checks=results,
            draining=self.drain.state if probe is Probe.READINESS else None,
            message=obstacle,
            warnings=warnings,
            at=now,
            valid_until=valid_until,
        )

    def _startup_pending(self) -> list[CheckState]:
        states = self.engine.registered(Probe.STARTUP)
        return [state for state in states if not state.latched and state.check.critical]

    def _obstacle(self, probe: Probe) -> str | None:
        """Say what beside the checks of ``probe`` stands against a passing answer."""
        if probe is Probe.LIVENESS:
            return None
        if self._phase == "starting":
            return "the application has not started"
        if probe is Probe.STARTUP:
            return None
        if self.drain.state is not None:
            return "draining"
        if pending := self._startup_pending():
            return "startup has not passed: " + ", ".join(state.check.name for state in pending)
        return None

    def _told_of(self, report: Report) -> None:
        before = self._last_status.get(report.probe)
        if report.status is not before:
            self._last_status[report.probe] = report.status
            for on_report in self.observers.on_report:
                on_report(before, report)
