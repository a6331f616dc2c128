"""Which server would get SIGTERM, and how long it will wait for what is in flight."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from probekit._lifecycle.jobs import ABANDON

if TYPE_CHECKING:
    from probekit._lifecycle.plan import Plan

__all__ = ["Server", "gunicorn_worker", "owner", "server_of"]

SERVERS = {
    "granian": "granian",
    "hypercorn": "hypercorn",
    "twisted": "daphne (Twisted)",
    "werkzeug": "werkzeug's reloader",
}
"""What people call the servers, by package."""
ON_THE_SPOT = {"twisted", "werkzeug"}
"""Those that stop without a look at what is in flight."""
PARKED = {"granian"}
"""Those whose main thread waits for nothing but a signal, if they have no event loop there."""


class Server(NamedTuple):
    """Who gets the signal next.

    Attributes:
        name: What people call it.
        option: Its option that limits how long it waits for what is in flight, if it has one.
        limit: The value of that, in seconds; None: without a limit, or not known.
        counts_the_drain: Whether that time begins with the drain, since a supervisor counts it from
            its own SIGTERM, and not with the hand-over. It ends in SIGKILL.
        waits: Whether it finishes what is in flight; if not, that must be done before.
        parked: Whether its main thread waits for nothing but a signal.
        nobody: Whether there is none, so that the signal ends the process.
    """

    name: str
    option: str | None = None
    limit: float | None = None
    counts_the_drain: bool = False
    waits: bool = True
    parked: bool = False
    nobody: bool = False

    def time_left(self, drained: float) -> float | None:
        """Return the seconds from the hand-over until what is in flight is cut, if it ever is.

        Args:
            drained: Seconds that the drain has taken.
        """
        if self.limit is None or not self.counts_the_drain:
            return self.limit
        return max(0.0, self.limit - drained)

    def budget(self, plan: Plan, *, jobs: bool, attended: bool) -> str:
        """Say how long leaving may take: no SIGKILL must come before.

        Args:
            plan: How the process will leave.
            jobs: Whether there may be jobs, which are waited for and then given back.
            attended: Whether the application has an end that does that, beside what the server
                waits for; if not, it is done before.
        """
        if self.counts_the_drain and self.limit is not None:
            return f"{self.limit:g} s"
        drained, back = plan.longest, ABANDON if jobs else 0.0
        if not self.waits:
            return f"{drained + plan.linger + back:g} s"
        beside = plan.linger if jobs and attended else 0.0
        before = drained + back + (plan.linger if jobs and not attended else 0.0)
        if self.limit is not None:
            return f"{before + max(self.limit, beside):g} s"
        requests = f"{before:g} s and the longest request"
        return f"{before + beside:g} s, and than {requests}" if beside else requests

    def __str__(self) -> str:
        """Name it and its limit."""
        if self.option is None:
            return self.name
        limit = "not set, so it waits for ever" if self.limit is None else f"{self.limit:g} s"
        return f"{self.name} ({self.option}: {limit})"


def server_of(handler: object) -> Server:
    """Return the server that a handler for SIGTERM belongs to."""
    module: str = getattr(owner(handler), "__module__", None) or ""
    package = module.partition(".")[0]
    if (worker := gunicorn_worker(handler)) is not None:
        limit = number(getattr(getattr(worker, "cfg", None), "graceful_timeout", None))
        return Server("gunicorn", "graceful_timeout", limit, counts_the_drain=True)
    if package == "uvicorn":
        config = getattr(getattr(handler, "__self__", None), "config", None)
        limit = number(getattr(config, "timeout_graceful_shutdown", None))
        return Server("uvicorn", "timeout_graceful_shutdown", limit)
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    return Server(
        SERVERS.get(package) or f"the handler {module}.{name}",
        waits=package not in ON_THE_SPOT,
        parked=package in PARKED,
    )


def gunicorn_worker(handler: object) -> object | None:
    """Return gunicorn's worker, whichever server runs inside it.

    Inside uvicorn's worker SIGTERM is uvicorn's, but another signal is still the worker's own.
    """
    usr1 = signal.getsignal(signal.SIGUSR1) if hasattr(signal, "SIGUSR1") else None
    for candidate in (handler, usr1):
        worker = getattr(candidate, "__self__", None)
        if any(base.__module__ == "gunicorn.workers.base" for base in type(worker).__mro__):
            return worker
    return None


def owner(handler: object) -> object:
    """Return what a handler belongs to: the class of its object, or itself."""
    bound: object = getattr(handler, "__self__", None)
    return handler if bound is None else bound.__class__


def number(value: Any) -> float | None:
    """Return ``value`` if it is a number."""
    return float(value) if isinstance(value, int | float) else None
