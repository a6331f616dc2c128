"""A rolling restart under load: two instances behind a balancer, SIGTERM to one after the other.

`run` plays it; `Result.complaints` says what was not as it should be. The servers run without
coverage, whose handler for SIGTERM they do not meet in real life.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

from tests.waiting import wait_until

from .balancers import BALANCERS
from .cells import CELLS
from .clients import get
from .load import Load
from .prober import Prober
from .servers import lasting_port, serve, session

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .cells import Cell
    from .load import Failure
    from .servers import Server

__all__ = ["Departure", "Plan", "Result", "run"]

LEAVE = 10.0
"""Seconds after the drain in which an instance must have ended; it hangs if it has not."""

AGAIN = 1.5
"""Seconds after which the second signal is sent, if one is wanted."""

SOON = 0.05
"""Seconds after a worker has got the signal in which its readiness must fail."""

LATEST = 1.0
"""Seconds after the signal in which readiness must fail even where the machine was busy."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the restart is done.

    Args:
        balancer: A key of `tests.e2e.balancers.BALANCERS`.
        delay: PROBEKIT_DRAIN_DELAY in seconds; with 0 all is as without the library.
        soak: Send so many signals to one instance, instead of one to each.
        group: Signal the process together with its children, as systemd does.
        twice: Signal a second time, `AGAIN` seconds later.
    """

    balancer: str = "envoy"
    delay: float = 1.5
    soak: int = 0
    group: bool = False
    twice: bool = False


@dataclass(frozen=True, kw_only=True)
class Departure:
    """What one instance did after SIGTERM.

    Args:
        unready: Seconds until readiness was 503 in every worker; None if it never was.
        seconds: How long it took to leave.
        status: The exit status, as a shell counts; None if it hung.
        started: In how many workers the lifespan had started.
        stopped: In how many of them its shutdown ran.
        orphans: How many processes it left behind.
        log: What it printed.
    """

    unready: float | None
    seconds: float
    status: int | None
    started: int
    stopped: int
    orphans: int
    log: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the clients and the instances met with."""

    cell: Cell
    plan: Plan
    ok: int
    failures: list[Failure]
    departures: list[Departure]

    @property
    def reasons(self) -> Counter[str]:
        """How often requests failed in which way."""
        return Counter(f"{failure.path} {failure.reason}" for failure in self.failures)

    def complaints(self) -> list[str]:
        """Return what was not as it should be."""
        cell, found = self.cell, []
        if self.failures:
            found.append(f"{len(self.failures)} of {self.ok + len(self.failures)} requests failed")
        for departure in self.departures:
            if departure.status is None:
                found.append(f"hung, and was killed after {departure.seconds:.1f} s")
            elif departure.status != cell.status:
                found.append(f"exit status {departure.status} instead of {cell.status}")
            if not departure.stopped == departure.started == cell.workers:
                found.append(
                    f"of {cell.workers} lifespans {departure.started} started"
                    f" and {departure.stopped} were shut down"
                )
            if departure.orphans:
                found.append(f"{departure.orphans} processes left behind")
            if departure.unready is None:
                found.append("readiness did not fail after the signal")
            elif departure.unready > LATEST:
                found.append(f"readiness failed only {departure.unready:.2f} s after the signal")
        return found + self._of_the_better_half()

    def _of_the_better_half(self) -> list[str]:
        """Return whether readiness failed too late in more than half of the restarts.

        Of two the better one counts: that the other was slower may be the machine's doing.
        """
        known = [each.unready for each in self.departures if each.unready is not None]
        limit = SOON + self.cell.late
        if not known or (took := median_low(known)) <= limit:
            return []
        return [f"readiness failed {took * 1000:.0f} ms after the signal, not {limit * 1000:.0f}"]


class Instance:
    """A server that is started again and again on one port; a context manager that ends it."""

    def __init__(self, cell: Cell, plan: Plan, directory: Path) -> None:
        self.port = lasting_port()
        self._cell = cell
        self._plan = plan
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start it and return when it is ready."""
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it by force: it has shown what it does after SIGTERM."""
        if hasattr(self, "_server"):
            kill(self._server)
        self._stack.close()

    def start(self) -> None:
        """Start it and return when all its workers are ready."""
        self._stack.close()
        self._notes = Path(tempfile.mkdtemp(dir=self._directory))
        self._server = self._stack.enter_context(
            serve(
                self._cell.app,
                self._cell.on,
                *self._cell.options,
                port=self.port,
                measured=False,
                NOTES=str(self._notes),
                PROBEKIT_DRAIN_DELAY=str(self._plan.delay),
                XDG_RUNTIME_DIR=str(self._notes),  # where gunicorn puts its control socket
            )
        )
        wait_until(self._ready, "the instance is ready")

    def serves(self, front: int) -> bool:
        """Return whether the balancer at this port gives it requests."""
        with suppress(OSError, HTTPException):
            answer = get(front, "/")
            return answer.status == 200 and os.getsid(int(answer.body)) == self._server.pid
        return False

    def leave(self) -> Departure:
        """Send SIGTERM, and return what became of it."""
        server, plan = self._server, self._plan
        status: int | None = None
        with Prober(self.port) as prober:
            began = time.monotonic()
            server.signal(signal.SIGTERM, group=plan.group)
            with suppress(TimeoutError):
                if plan.twice:
                    with suppress(TimeoutError):
                        server.wait(AGAIN)
                    server.signal(signal.SIGTERM, group=plan.group and server.running())
                code = server.wait(plan.delay + LEAVE)
                status = code if code >= 0 else 128 - code
            seconds = time.monotonic() - began
        if status is None:
            kill(server)
        # A helper such as multiprocessing's resource tracker sees with its own eyes that it may go.
        with suppress(TimeoutError):
            wait_until(lambda: not session(server.pid), "it leaves no process", patience=1.0)
        return Departure(
            unready=prober.unready_after(began),
            seconds=seconds,
            status=status,
            started=self._noted("started"),
            stopped=self._noted("stopped"),
            orphans=kill(server),
            log=server.log(),
        )

    def _noted(self, what: str) -> int:
        return len(list(self._notes.glob(f"*.{what}")))

    def _ready(self) -> bool:
        if not self._server.running():
            raise RuntimeError(f"ended with {self._server.wait()}:\n{self._server.log()}")
        if self._noted("started") < self._cell.workers:
            return False
        with suppress(OSError, HTTPException):
            return get(self.port, "/readyz").status == 200
        return False


def kill(server: Server) -> int:
    """End the processes of a server's session; return how many there were."""
    pids = session(server.pid)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def run(name: str, plan: Plan) -> Result:
    """Play a restart.

    Args:
        name: A key of `tests.e2e.cells.CELLS`.
        plan: How.
    """
    cell = CELLS[name]
    departures: list[Departure] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pair = [stack.enter_context(Instance(cell, plan, directory)) for _ in range(2)]
        ports = [instance.port for instance in pair]
        front = stack.enter_context(BALANCERS[plan.balancer](ports)).port
        for instance in pair:
            await_use(instance, front)
        load = stack.enter_context(Load(front))
        load.lap()
        order = [pair[0]] * plan.soak or pair
        for left, instance in enumerate(order, 1):
            departures.append(instance.leave())
            if left < len(order):
                instance.start()
                await_use(instance, front)
        load.lap()
    return Result(cell=cell, plan=plan, ok=load.ok, failures=load.failures, departures=departures)


def await_use(instance: Instance, front: int) -> None:
    """Return when the balancer gives the instance requests."""
    wait_until(lambda: instance.serves(front), "the balancer uses the instance")
