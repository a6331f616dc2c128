"""One process in service: its checks, its drain and its phases, put together into answers."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from probekit._core.engine import Engine
from probekit._core.forked import renew_when_forked
from probekit._core.loops import nothing
from probekit._core.model import DrainStep
from probekit._core.observer import Observers
from probekit._core.own_thread import on_own_thread
from probekit._lifecycle.answers import Answers
from probekit._lifecycle.drain import DrainSwitch
from probekit._lifecycle.evidence import Evidence
from probekit._lifecycle.hooks import Hooks
from probekit._lifecycle.inquiry import Inquiry
from probekit._lifecycle.jobs import Jobs
from probekit._lifecycle.pod.keeper import Companion, Keeper
from probekit._lifecycle.pod.records import Worker
from probekit._lifecycle.relay import RELAY
from probekit._lifecycle.signals import Sigterm
from probekit._lifecycle.steps import Steps
from probekit._lifecycle.traffic import Traffic
from probekit._lifecycle.watchdog.watch import Watchdog
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from probekit._core.clock import Clock
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.pod.pod import Pod
    from probekit._lifecycle.watchdog.policy import Policy
    from probekit._lifecycle.watchdog.stall import Stall

    Farewell: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

__all__ = ["Listener", "Service"]

logger = logging.getLogger("probekit")

FAREWELL = 5.0
"""Seconds for which it is tried to tell a client that it must go."""
PARTING = 1.0
"""Seconds that the keeper has to end."""

TWICE = (
    "this Probes is served already, by serve(), start(), begin() or lifespan(), or by the lifespan "
    "or the first request of an application. Leave one of them out: ProbeMiddleware enters the "
    "lifespan by itself, so leave `async with probes.lifespan()` out, and use its side_port=... "
    "instead of serve(); or give each application a Probes of its own"
)
"""Why it is refused, whichever comes second."""


class Listener(Protocol):
    """Who takes connections for a service, beside the server of the application."""

    def listen(self) -> None:
        """Take connections, if it does not yet.

        Raises:
            ConfigurationError: If that cannot be.
        """
        ...

    def try_to_listen(self) -> None:
        """Do the same where a request must not fail: what it would raise is logged."""
        ...


class Service(Answers):
    """What stands behind a `Probes`; the doors drive it, applications use `Probes`.

    Attributes:
        clock: The clocks.
        policy: When the process counts as stuck, and what is done about it.
        pod: What all workers of the server share.
        observers: Who is told.
        engine: Runs the checks.
        traffic: What is in flight; the doors count.
        watchdog: Notices when nothing moves.
        jobs: What becomes of the jobs among it.
        evidence: What probers and traffic show of a drain.
        steps: How far a drain has come.
        drain: The switch that takes the process out of service.
        sigterm: Turns that switch.
        served: Whether a request or a lifespan has begun.
        inquiry: Tells whether it is ready, and asks if nobody else does.
        companions: What is done beside, by what knows more than a service does.
        listeners: Who takes connections on a side port.
        farewells: What tells each open WebSocket to go; the doors fill it if the plan says so.
    """

    def __init__(self, *, clock: Clock, plan: Plan, policy: Policy, pod: Pod) -> None:
        super().__init__()
        self.clock = clock
        self.policy: Policy = policy
        self.pod: Pod = pod
        self._keeper = Keeper(self._keep, between=self._beat)
        self._since = clock.time()
        self._told_not_begun = False
        self.observers: Observers = Observers()
        self.engine: Engine = Engine(clock=clock, observers=self.observers)
        self.traffic: Traffic = Traffic(clock.monotonic)
        self.jobs: Jobs = Jobs(traffic=self.traffic, engine=self.engine)
        self.evidence: Evidence = Evidence(plan=plan, traffic=self.traffic)
        self.watchdog: Watchdog = Watchdog(clock, policy, self.engine, self.traffic, pod)
        self.steps: Steps = Steps(hooks=Hooks(self.engine))
        self.drain: DrainSwitch = DrainSwitch(clock=clock, changed=self._drain_changed, pod=pod)
        self.sigterm: Sigterm = Sigterm(
            switch=self.drain,
            plan=plan,
            traffic=self.traffic,
            evidence=self.evidence,
            steps=self.steps,
            begun=self._drain_changed,
            farewell=self._farewell,
            jobs=self.jobs,
        )
        self.inquiry: Inquiry = Inquiry(self)
        self.companions: list[Companion] = []
        self.listeners: list[Listener] = []
        self.farewells: dict[object, Farewell] = {}
        self.served: bool = False
        renew_when_forked(self)

    # -- leaving ------------------------------------------------------------------------------

    def not_ready(self, prober: str | None) -> None:
        """Note that ``prober``, an address, was told that no new work must be sent."""
        if self.drain.state is not None:
            self.evidence.saw_503(prober)

    def _drain_changed(self) -> None:
        drain = self.drain.state  # two threads may turn it at once, and tell of it in any order
        self.engine.version += 1
        for on_drain in self.observers.on_drain:
            on_drain(drain)
        if drain is None:
            self.steps.start_over()
            self.evidence.forget()
        else:
            self.steps.reach(DrainStep.BEGUN)

    def _farewell(self) -> None:
        self.jobs.deadline = self.clock.monotonic() + self.sigterm.plan.linger
        for farewell in self.farewells.copy().values():
            self.engine.spawn_threadsafe(
                farewell, name="probekit:farewell", timeout=FAREWELL, overdue=nothing
            )

    # -- sharing ------------------------------------------------------------------------------

    def workers(self) -> list[Worker]:
        """Return what the workers of the server say of themselves; this one is asked itself."""
        own = self._line()
        others = [worker for worker in self.pod.workers() if worker.pid != own.pid]
        return sorted([own, *others], key=lambda worker: (worker.started, worker.pid))

    def _keep(self) -> None:
        RELAY.look_after()
        self.drain.look()
        self.pod.announce(self._line())
        if self.pod.scope != "process":
            self.inquiry.keep()
        for companion in self.companions:
            companion.keep()

    def _beat(self) -> None:
        self.pod.beat(self.clock.monotonic())

    def _part(self) -> None:
        self._keeper.wait(PARTING)  # or it would write what is taken away here
        self.pod.leave()
        for companion in self.companions:
            companion.leave()

    def _line(self) -> Worker:
        traffic, stall = self.traffic, self.stall
        return Worker(
            pid=os.getpid(),
            started=self._since,
            at=self.clock.monotonic(),
            ready=self.inquiry.ready if stall is None else False,
            draining=self.drain.state is not None,
            requests=len(traffic.requests),
            websockets=len(traffic.websockets),
            latest=traffic.latest,
            seen_503=self.evidence.seen_503,
            loop_lag=round(self.engine.heartbeat.lag, 3),
            oldest=traffic.oldest(),
            jobs=len(traffic.jobs),
            stuck="" if stall is None else str(stall),
            stuck_after=self.policy.stuck_after or 0.0,
            cpu=time.process_time(),
        )

    def renew(self) -> None:
        """Be as new in a child: nothing that runs in the parent runs here, nor is in flight."""
        self.served = False
        self._phase = "idle"
        self.traffic.requests.clear()
        self.traffic.websockets.clear()
        self.traffic.blocks.clear()
        self.traffic.threads, self.traffic.asked_server = None, False

    @property
    def stall(self) -> Stall | None:
        """What the process has been stuck in for longer than the policy allows, or None."""
        return self.watchdog.stall

    @property
    def saturated(self) -> bool:
        """Whether all threads of a WSGI server are busy, though not stuck."""
        return self.watchdog.saturated

    # -- living -------------------------------------------------------------------------------

    def refuse_twice(self) -> None:
        """Refuse to be served by one more, who would stop at its end what the first one needs.

        Raises:
            ConfigurationError: If it is in service; without a lifespan that begins with a request.
        """
        if self._phase != "idle" or self._keeper.under_way:
            raise ConfigurationError(TWICE)

    def serving(self) -> None:
        """Note that a request came: where no lifespan is told, the first is the start."""
        if not self.served:
            try:
                self.begin()
            except Exception as error:
                self.not_begun(error)

    def not_begun(self, error: Exception) -> None:
        """Tell why it could not begin, once: a user's request must not fail for it."""
        if not self._told_not_begun:
            self._told_not_begun = True
            logger.error(
                "probekit failed to begin; it tries again with each request", exc_info=error
            )

    def begin(self) -> None:
        """Begin without a lifespan, if it has not begun.

        Raises:
            RuntimeError: If no thread can be started; the next call tries again.
        """
        if not self.served:
            self.served = True
            try:
                self._start()
            except BaseException:
                self.served = False
                raise
            self._told_not_begun = False
            for listener in self.listeners:
                listener.try_to_listen()

    def starting(self) -> None:
        """Note that the application's startup began.

        Raises:
            ConfigurationError: If it has begun already, or under this server must not.
        """
        if self._phase != "idle":
            raise ConfigurationError(TWICE)
        self.watchdog.check()
        self._phase = "starting"
        self.served = True
        self.engine.version += 1

    def started(self, *, has_block: bool = False) -> None:
        """Note that it is complete: run the background checks, stand by for SIGTERM.

        Args:
            has_block: Whether SIGTERM waits until a block is left, be there a delay or not.
        """
        self._phase = "started"
        self.jobs.attended = True
        self.engine.version += 1
        try:
            self._start(has_block=has_block)
        except BaseException:
            self._phase = "starting"  # so its end is that of a startup that failed
            raise

    def _start(self, *, has_block: bool = False) -> None:
        """Start all that runs."""
        self.engine.start()
        self.sigterm.arm(without_delay=has_block)
        self._keeper.start()
        self.watchdog.start()

    async def stopped(self) -> None:
        """Note that the application has ended, or failed to start: stop all that runs."""
        try:
            await self.end()
        finally:
            self.release()

    async def end(self) -> None:
        """Stop all that runs, and keep SIGTERM, which would cut that, until `release`."""
        # With nothing in flight the thread that times a drain would end the process.
        self.traffic.blocks[self] = {}, self.clock.monotonic()
        self.jobs.ending = True
        try:
            await self.jobs.finish(self.sigterm, draining=self.drain.state is not None)
        finally:  # cancelled, it waits for nothing more
            await self._stop()

    def release(self) -> None:
        """Let SIGTERM go its own way again; best in the main thread, which alone may."""
        self.sigterm.disarm()
        self.jobs.ending = False
        self.traffic.blocks.pop(self, None)

    async def _stop(self) -> None:
        if self._phase == "starting":
            self.served = False  # it failed; some servers go on without a lifespan
        self._phase = "idle"
        self.engine.version += 1
        if self.steps.reached(DrainStep.HANDED_OVER) and not any(self.traffic.in_flight().values()):
            self.steps.reach(DrainStep.DONE, "the application is told to end")
        # While the application's resources are open, and with a sign of life now and then.
        await self.jobs.give_back(draining=self.drain.state is not None)
        self._keeper.stop()
        self.watchdog.stop()
        try:
            if self.companions or self.pod.scope != "process":
                await on_own_thread(self._part)
        finally:
            await self.engine.stop()

    def closed(self, why: str = "the application's lifespan has ended") -> None:
        """Note that the application has closed its resources."""
        if self.steps.reached(DrainStep.HANDED_OVER):
            self.steps.reach(DrainStep.CLOSED, why)
