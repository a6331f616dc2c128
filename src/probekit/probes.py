"""`Probes`: the checks of an application, and its way out of service."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, overload

from probekit._core.clock import Clock
from probekit._core.model import DrainStep, Probe
from probekit._probes.declaring import CheckOptions, Declaring, LivenessOptions, probe_of
from probekit._probes.standalone import Standalone
from probekit._probes.working import Work, Working
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from probekit._core.model import Drain, Report
    from probekit._core.observer import Observer
    from probekit._lifecycle.options import ProbesOptions
    from probekit._lifecycle.service import Service
    from probekit._lifecycle.watchdog.stall import Stall

__all__ = ["CheckOptions", "Clock", "LivenessOptions", "Probes", "Work"]

H = TypeVar("H", bound="Callable[[], object]")


class HookDecorator(Protocol):
    """Gives back the hook that it decorates."""

    def __call__(self, function: H, /) -> H:
        """Register ``function`` and return it."""
        ...


class Probes(Declaring, Standalone, Working):
    """The checks of an application, and its way out of service.

    Make one, declare checks on it, and mount it with a door: `probekit.asgi.ProbeMiddleware`,
    `probekit.asgi.probe_app`, `probekit.starlette.routes`, `probekit.wsgi.ProbeMiddleware` or
    `probekit.flask.init_app`. Where there is no server, call `serve` or `start`.

    Args:
        name: Tells several of them in one process apart in metrics.
        drain_delay: Seconds between SIGTERM and its hand-over to the server. None: the variable
            ``PROBEKIT_DRAIN_DELAY``, else 5 where an orchestrator is seen, else 0.
        observers: Told of results and changes. The default logs changes; ``[]`` is silent.
        clock: For tests.
        **options: How a drain that SIGTERM began ends, and when the process counts as stuck. All
            times in seconds.

            - ``drain_until`` (``"delay"``): ``"quiet"``: hand the signal over as soon as no new
              request has come for ``quiet_for``, but not before a prober has seen ``seen_503``
              answers of 503 or ``drain_delay`` has passed.
            - ``seen_503`` (2): How many a prober needs: what it calls its unhealthy threshold.
            - ``quiet_for`` (1.0).
            - ``drain_max`` (15, or ``drain_delay`` if that is longer): When to hand over in any
              case.
            - ``linger`` (20): How long to wait, where the server itself does not, until what is in
              flight is done.
            - ``close_websockets`` (False): Close open WebSockets with code 1001 at hand-over.
            - ``stuck_after`` (5): How long the event loop must show no sign of life, or all threads
              of a WSGI server be busy with the same requests and send nothing: more than the
              longest request that is in order. None: nobody watches.
            - ``on_stuck`` (``"report"``): ``"exit"``: end a process that is stuck, for the server
              to start another. Requests and jobs in flight are lost, without ``on_abandon``.
              Refused under several workers of hypercorn; granian needs
              ``--respawn-failed-workers``.
            - ``exits_per_hour`` (3): How often that may happen to all workers of a server together.

    Attributes:
        name: What metrics call it.
        service: What the doors drive; not for applications.

    Raises:
        ConfigurationError: If an argument or the environment variable makes no sense.

    Note:
        Checks run on the event loop that asks first. `drain`, `undrain` and the properties may be
        used from any thread.
    """

    def __init__(
        self,
        *,
        name: str = "app",
        drain_delay: float | None = None,
        observers: Iterable[Observer] | None = None,
        clock: Clock | None = None,
        **options: Unpack[ProbesOptions],
    ) -> None:
        # Here and not above, or to import a name from probekit would load asyncio and logging.
        from probekit._core.clock import SystemClock
        from probekit._lifecycle.options import refuse_arguments, split
        from probekit._lifecycle.plan import make_plan
        from probekit._lifecycle.pod.pod import Pod, application
        from probekit._lifecycle.service import Service
        from probekit._lifecycle.watchdog.policy import make_policy
        from probekit.observers import LoggingObserver

        refuse_arguments(name=name, observers=observers, clock=clock)
        self.name: str = name
        leaving, watching = split(options)
        plan, policy = make_plan(drain_delay, **leaving), make_policy(**watching)
        try:
            pod = Pod(name=application(name), environment=os.environ)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self.service: Service = Service(
            clock=SystemClock() if clock is None else clock, plan=plan, policy=policy, pod=pod
        )
        for observer in [LoggingObserver()] if observers is None else observers:
            self.observe(observer)

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of everything that happens from now on."""
        self.service.observers.add(observer)

    # -- asking -------------------------------------------------------------------------------

    async def report(
        self,
        probe: Probe = Probe.READINESS,
        *,
        only: str | None = None,
        exclude: str | Iterable[str] = (),
    ) -> Report:
        """Run what must be run and return the answer to ``probe``.

        Takes no longer than the longest ``timeout`` of the checks asked (for readiness those of a
        startup that has not passed are among them), unless something blocks the event loop.

        Args:
            probe: The question.
            only: The name of the one check to ask; drain and startup are then left out of account.
            exclude: A name, or names, to leave out; an unknown one becomes a warning.

        Raises:
            ConfigurationError: If there is no such probe.
            KeyError: If there is no check of the name ``only``.

        Note:
            Cancelling it harms no run.
        """
        names = (exclude,) if isinstance(exclude, str) else exclude
        return await self.service.report(probe_of(probe), only=only, exclude=names)

    def peek(self, probe: Probe = Probe.READINESS) -> Report:
        """Return the answer to ``probe`` from what is known already; nothing is run.

        Raises:
            ConfigurationError: If there is no such probe.
        """
        return self.service.peek(probe_of(probe))

    # -- leaving ------------------------------------------------------------------------------

    @property
    def draining(self) -> Drain | None:
        """The drain under way, or None."""
        return self.service.drain.state

    def drain(self, *, reason: str = "", by: str = "", lease: float | None = None) -> Drain:
        """Turn unready, so that no new work is sent; everything is served as before.

        Args:
            reason: Why, published in the answer; one line of at most 200 characters.
            by: Who, likewise.
            lease: Seconds after which the drain ends by itself; None: when `undrain` ends it.

        Returns:
            The drain, renewed if there was one already. One that SIGTERM began stays as it is.

        Raises:
            ConfigurationError: If an argument makes no sense.
        """
        return self.service.drain.begin(reason=reason, by=by, lease=lease)

    def undrain(self) -> None:
        """End the drain, if there is one.

        Raises:
            DrainIsFinalError: If SIGTERM began it, or the fleet's switch did.
        """
        self.service.drain.end()

    @overload
    def on_drain(self, function: H, /, *, step: DrainStep = ..., timeout: float = ...) -> H: ...
    @overload
    def on_drain(self, /, *, step: DrainStep = ..., timeout: float = ...) -> HookDecorator: ...
    def on_drain(
        self, function: Any = None, /, *, step: DrainStep = DrainStep.BEGUN, timeout: float = 5.0
    ) -> Any:
        """Declare what the application does when it leaves, once for each drain.

        Use it as a bare decorator, as a decorator with options, or as a call. A hook takes no
        argument and runs beside the drain: an ``async def`` on the application's event loop, a
        ``def`` on a thread of its own. Nothing waits for it, so give ``drain_delay`` the time that
        it needs; what it raises is logged and harms nothing.

        Args:
            function: The hook.
            step: When it is called: as soon as a drain begins, or at a later step of leaving.
            timeout: Seconds after which an async hook is cancelled; one on a thread cannot be, and
                is named in the log.

        Returns:
            The function, unchanged.

        Raises:
            ConfigurationError: If it takes arguments, or an argument makes no sense.
        """
        from probekit._lifecycle.hooks import make_hook

        def register(function: H) -> H:
            self.service.steps.add(make_hook(function, step=step, timeout=timeout))
            return function

        return register if function is None else register(function)

    async def wait_for(self, step: DrainStep) -> None:
        """Return when the process has come to ``step`` of leaving; at once if it has already.

        ::

            await probes.wait_for(DrainStep.BEGUN)   # then take no more jobs
        """
        await self.service.steps.wait(step)

    @property
    def in_flight(self) -> dict[str, int]:
        """How many requests, WebSockets and jobs the application is busy with, by kind."""
        return self.service.traffic.in_flight()

    @property
    def loop_lag(self) -> float:
        """Seconds by which the event loop is late; 0.0 outside a lifespan."""
        return self.service.engine.heartbeat.lag

    @property
    def stall(self) -> Stall | None:
        """What the process has been stuck in for longer than ``stuck_after``, or None."""
        return self.service.stall

    @property
    def sigterm(self) -> str:
        """Whether SIGTERM will drain first: ``"armed"``, or why not."""
        return self.service.sigterm.status

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Run the background checks and stand by for SIGTERM while the body runs.

        `probekit.asgi.ProbeMiddleware` does this by itself. Enter it in your own lifespan if you
        mount routes instead.

        Raises:
            ConfigurationError: If it is entered already, by that middleware for instance.
        """
        self.service.starting()
        try:
            self.service.started()
            yield
        finally:
            await self.service.stopped()
            self.service.closed()
