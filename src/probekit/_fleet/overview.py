"""The whole deployment at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from probekit._core.model import Drain
    from probekit._fleet.store import Census
    from probekit._fleet.wire import Pod

__all__ = ["FleetStatus", "Replica", "State", "overview"]

GONE_AFTER = 10.0
"""Seconds; a pod says something every three."""
OVERLAP = 60.0
"""Seconds for which a pod that leaves in order may go on beside its successor."""

State: TypeAlias = Literal["healthy", "starting", "draining", "unhealthy", "gone", "left"]


class Replica(NamedTuple):
    """A pod, as it last said of itself.

    Attributes:
        id: Tells it from every other.
        host: The name of its machine or container.
        version: The version of the application.
        state: ``"healthy"``: all its workers are ready. ``"starting"``: one of them does not know
            yet. ``"draining"``: one of them drains. ``"unhealthy"``: one of them is not ready.
            ``"gone"``: it has said nothing for 10 s. ``"left"``: it said that it leaves.
        workers: How many processes serve.
        ready: How many of them are ready.
        unknown: How many do not know yet, since their checks have not run.
        draining: How many drain.
        requests: How many requests are in flight in them.
        websockets: How many WebSockets are open.
        jobs: How many jobs are in flight.
        fleet: Whether it has seen that the fleet drains.
        since: When it was first seen (seconds since the epoch).
        age: Seconds since it said this.
    """

    id: str
    host: str
    version: str
    state: State
    workers: int
    ready: int
    unknown: int
    draining: int
    requests: int
    websockets: int
    jobs: int
    fleet: bool
    since: float
    age: float


class FleetStatus(NamedTuple):
    """The switch, and all replicas of the last hour.

    Attributes:
        app: Whose they are.
        now: The time by the clock of Redis (seconds since the epoch).
        draining: The drain of the fleet, or None.
        replicas: Each replica, by host.
        total: How many there should be: all but those that left or were replaced.
        healthy: How many of them are healthy.
        starting: How many of them do not know yet.
        unhealthy: How many are not: they drain, are not ready, or are gone.
        percent: How many in a hundred are healthy; None if there is none at all.
        unreadable: How many more another version of probekit has announced.
    """

    app: str
    now: float
    draining: Drain | None
    replicas: tuple[Replica, ...]
    total: int
    healthy: int
    starting: int
    unhealthy: int
    percent: float | None
    unreadable: int

    @property
    def good(self) -> bool:
        """Whether there are replicas, all of them healthy, and the fleet does not drain."""
        return self.draining is None and 0 < self.total == self.healthy


def overview(app: str, census: Census, drain: Drain | None) -> FleetStatus:
    """Return what follows of what all pods said."""
    hidden = replaced(census)
    replicas = tuple(
        replica_of(pod, census.now)
        for pod in sorted(census.pods, key=lambda pod: (pod.host, pod.since, pod.id))
        if pod.id not in hidden
    )
    counted = [replica for replica in replicas if replica.state != "left"]
    healthy, starting = (
        sum(replica.state == state for replica in counted) for state in ("healthy", "starting")
    )
    return FleetStatus(
        app=app,
        now=census.now,
        draining=drain,
        replicas=replicas,
        total=len(counted),
        healthy=healthy,
        starting=starting,
        unhealthy=len(counted) - healthy - starting,
        percent=round(100 * healthy / len(counted), 1) if counted else None,
        unreadable=census.unreadable,
    )


def replica_of(pod: Pod, now: float) -> Replica:
    """Return a pod as it is now."""
    return Replica(
        id=pod.id,
        host=pod.host,
        version=pod.application,
        state=state_of(pod, now),
        workers=pod.workers,
        ready=pod.ready,
        unknown=pod.unknown,
        draining=pod.draining,
        requests=pod.requests,
        websockets=pod.websockets,
        jobs=pod.jobs,
        fleet=pod.fleet,
        since=pod.since,
        age=round(max(0.0, now - pod.at), 1),
    )


def state_of(pod: Pod, now: float) -> State:
    """Return how a pod is."""
    if pod.left:
        return "left"
    if now - pod.at > GONE_AFTER:
        return "gone"
    if pod.draining:
        return "draining"
    if not pod.workers or pod.ready + pod.unknown < pod.workers:
        return "unhealthy"
    return "starting" if pod.unknown else "healthy"


def replaced(census: Census) -> set[str]:
    """Return the pods that are gone and in whose place another one of their host has come.

    Each takes the place of one at most, or a server that is restarted in order would hide one
    beside it that has crashed. Of several it is the one that ended nearest to its beginning.
    """
    ended = {pod.id: pod for pod in census.pods if state_of(pod, census.now) in ("gone", "left")}
    found: set[str] = set()
    for later in sorted(census.pods, key=lambda pod: pod.since):
        before = [
            pod
            for pod in ended.values()
            if pod.host == later.host
            and pod.since < later.since
            and pod.at < later.since + (OVERLAP if pod.left else 0)
        ]
        if before:
            nearest = min(before, key=lambda pod: abs(pod.at - later.since))
            del ended[nearest.id]
            if not nearest.left:
                found.add(nearest.id)
    return found
