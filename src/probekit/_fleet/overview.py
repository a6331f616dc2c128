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

State: TypeAlias = Literal["healthy", "draining", "unhealthy", "gone", "left"]


class Replica(NamedTuple):
    """A pod, as it last said of itself.

    Attributes:
        id: Tells it from every other.
        host: The name of its machine or container.
        version: The version of the application.
        state: ``"healthy"``: all its workers are ready. ``"draining"``: one of them drains.
            ``"unhealthy"``: one of them is not ready. ``"gone"``: it has said nothing for 10 s.
            ``"left"``: it said that it leaves.
        workers: How many processes serve.
        ready: How many of them are ready.
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
    unhealthy: int
    percent: float | None
    unreadable: int

    @property
    def good(self) -> bool:
        """Whether there are replicas, all of them healthy, and the fleet does not drain."""
        return self.draining is None and self.total > 0 and self.unhealthy == 0


def overview(app: str, census: Census, drain: Drain | None) -> FleetStatus:
    """Return what follows of what all pods said."""
    replicas = tuple(
        replica_of(pod, census.now)
        for pod in sorted(census.pods, key=lambda pod: (pod.host, pod.since, pod.id))
        if not replaced(pod, census)
    )
    counted = [replica for replica in replicas if replica.state != "left"]
    healthy = sum(replica.state == "healthy" for replica in counted)
    return FleetStatus(
        app=app,
        now=census.now,
        draining=drain,
        replicas=replicas,
        total=len(counted),
        healthy=healthy,
        unhealthy=len(counted) - healthy,
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
    return "healthy" if pod.workers and pod.ready == pod.workers else "unhealthy"


def replaced(pod: Pod, census: Census) -> bool:
    """Whether another has come in the place of one that is gone: later, and on the same host."""
    if state_of(pod, census.now) != "gone":
        return False
    return any(later.host == pod.host and later.since > pod.at for later in census.pods)
