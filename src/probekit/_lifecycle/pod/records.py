"""What stands in the files, and what is made of it when it is read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeGuard

from probekit._core.model import Drain
from probekit._core.seconds import LONGEST
from probekit._core.text import as_text, is_text
from probekit._lifecycle.pod.files import ForeignError

__all__ = [
    "Shared",
    "Worker",
    "is_moment",
    "shared_content",
    "shared_of",
    "worker_content",
    "worker_of",
]

MANY = 2**32
"""No worker has so much in flight."""


class Shared(NamedTuple):
    """A drain that all workers know of.

    Attributes:
        drain: What it is.
        deadline: When it ends by itself, in the monotonic seconds that all processes of a machine
            share, so that a wall clock that jumps changes nothing; infinity if it does not.
    """

    drain: Drain
    deadline: float


class Worker(NamedTuple):
    """What a worker last said of itself.

    Attributes:
        pid: Its process.
        started: When it was started (seconds since the epoch).
        at: When it said this, or last gave a sign of life if the disk had no room for its line
            since (monotonic seconds of the machine).
        ready: Whether its readiness passed when last looked at, and it is not stuck; None: its
            checks have not run yet.
        draining: Whether it drains.
        requests: How many requests are in flight in it.
        websockets: How many WebSockets are open in it.
        latest: When its last ordinary request came (monotonic seconds), or None.
        seen_503: How many 503s a prober has got from it in this drain.
        loop_lag: Seconds by which its event loop was late.
        oldest: The oldest of what is in flight in it: method and path, and since when (monotonic).
        jobs: How many jobs are in flight in it.
        stuck: What it has been stuck in for longer than ``stuck_after``; empty if it is not.
        stuck_after: Seconds after which it counts as stuck; 0 if nobody watches.
        cpu: Seconds of CPU time that its process had used by then.
    """

    pid: int
    started: float
    at: float
    ready: bool | None
    draining: bool
    requests: int = 0
    websockets: int = 0
    latest: float | None = None
    seen_503: int = 0
    loop_lag: float = 0.0
    oldest: tuple[tuple[str, float], ...] = ()
    jobs: int = 0
    stuck: str = ""
    stuck_after: float = 0.0
    cpu: float = 0.0


def shared_content(value: Shared) -> dict[str, Any]:
    """Return what is written of a drain."""
    deadline = None if value.deadline == math.inf else value.deadline
    return value.drain._asdict() | {"deadline": deadline}


def shared_of(content: dict[str, Any]) -> Shared:
    """Return the drain that a file describes.

    Raises:
        ForeignError: If it describes none, or one that would do harm where it is shown.
    """
    since, until, deadline = content.get("since"), content.get("until"), content.get("deadline")
    reason, by = content.get("reason"), content.get("by")
    if not (is_text(reason) and is_text(by) and is_moment(since)):
        raise ForeignError("the file of the drain makes no sense")
    if not (until is None or is_moment(until)) or not (deadline is None or is_moment(deadline)):
        raise ForeignError("the file of the drain has a lease that makes no sense")
    drain = Drain(since=since, reason=reason, by=by, until=until)
    return Shared(drain, math.inf if deadline is None else deadline)


def worker_content(worker: Worker) -> dict[str, Any]:
    """Return what is written of a worker; paths are what clients say, and of any length."""
    oldest = [(as_text(what), since) for what, since in worker.oldest]
    return worker._asdict() | {"oldest": oldest, "stuck": as_text(worker.stuck)}


def worker_of(content: dict[str, Any]) -> Worker:
    """Return the worker that a file describes.

    Raises:
        ForeignError: If it describes none.
    """
    known = {name: content[name] for name in Worker._fields if name in content}
    try:
        worker = Worker(**known)
        worker = worker._replace(
            oldest=tuple((str(what), float(since)) for what, since in worker.oldest)
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ForeignError(f"the file of a worker makes no sense: {error!r}") from None
    counts = (worker.pid, worker.requests, worker.websockets, worker.seen_503, worker.jobs)
    moments = (worker.started, worker.at, worker.loop_lag, worker.stuck_after, worker.cpu)
    flags = type(worker.ready), type(worker.draining)
    if not (
        all(type(count) is int and 0 <= count < MANY for count in counts)
        and all(is_moment(moment) for moment in moments)
        and (worker.latest is None or is_moment(worker.latest))
        and flags in ((bool, bool), (type(None), bool))
        and is_text(worker.stuck)
        and all(is_text(what) and is_moment(since) for what, since in worker.oldest)
    ):
        raise ForeignError("the file of a worker makes no sense")
    return worker


def is_moment(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number of seconds that a clock may show."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= 10 * LONGEST
