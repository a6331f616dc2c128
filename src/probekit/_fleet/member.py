"""A process's part in a fleet: to watch for its pod if it is elected, and to say goodbye."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from probekit._fleet.watcher import Watcher
from probekit._fleet.wire import Pod
from probekit._lifecycle.pod.leader import Leadership
from probekit._lifecycle.pod.records import Shared
from probekit.exceptions import FleetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._fleet.store import Store
    from probekit._fleet.wire import Word
    from probekit._lifecycle.service import Service

__all__ = ["Member"]

FRESH = 5.0
"""Seconds; a worker that has said nothing for longer is not ready."""
SAME = 0.2
"""Seconds by which two readings of one lease may differ."""
PATIENCE = 2.0
"""Seconds that the watcher has to end."""


class Member:
    """What a process does for the fleet, twice a second beside the application, and at its end.

    Args:
        app: The application's name.
        version: Its version.
        connect: Makes a store.
        service: The process.
    """

    def __init__(
        self, *, app: str, version: str, connect: Callable[[], Store], service: Service
    ) -> None:
        self.app: str = app
        self._version = version
        self._connect = connect
        self._service = service
        self._leadership = Leadership(service.pod, purpose="fleet")
        self._watcher = Watcher(app=app, connect=connect, hear=self._hear, describe=self._describe)
        self._heard: Shared | None = None
        self._deaf = True

    def keep(self) -> None:
        """Watch if this process is elected, and not if another one is."""
        self._service.inquiry.keep()  # alone, each is a replica
        leads = self._leadership.take()
        if leads and not self._watcher.running:
            self._deaf = True
            self._watcher.start()
        elif not leads and self._watcher.running:
            self._watcher.stop()

    def leave(self) -> None:
        """Watch no more; the last worker of the pod says that the pod has left."""
        troubled = self._watcher.running and self._watcher.troubled
        self._watcher.stop(patience=PATIENCE)
        self._leadership.release()
        # Each takes its line away before it looks for others', so at least one finds none.
        alone = not [worker for worker in self._service.pod.workers() if worker.pid != os.getpid()]
        if alone and not troubled:
            pod = self._describe()._replace(left=True, workers=0, ready=0, unknown=0, draining=0)
            with contextlib.suppress(FleetError), self._connect() as store:
                store.announce(pod)
        self._service.pod.leave()

    def _hear(self, word: Word | None) -> None:
        shared = None if word is None else self._shared(word)
        if self._deaf or not same(shared, self._heard):
            self._service.drain.hear(shared)
            self._heard = shared
            self._deaf = False

    def _shared(self, word: Word) -> Shared:
        clock = self._service.clock
        deadline = clock.monotonic() + word.left
        until = None if deadline == float("inf") else clock.time() + word.left
        return Shared(word.drain._replace(until=until), deadline)

    def _describe(self) -> Pod:
        service = self._service
        now = service.clock.monotonic()
        workers = service.workers()
        fresh = [worker for worker in workers if now - worker.at < FRESH]
        host = socket.gethostname()
        return Pod(
            id=f"{host}/{service.pod.key}",
            host=host,
            application=self._version,
            workers=len(workers),
            ready=sum(worker.ready is True for worker in fresh),
            unknown=sum(worker.ready is None for worker in fresh),
            draining=sum(worker.draining for worker in workers),
            requests=sum(worker.requests for worker in workers),
            websockets=sum(worker.websockets for worker in workers),
            jobs=sum(worker.jobs for worker in workers),
            fleet=service.drain.fleet is not None,
        )


def same(one: Shared | None, other: Shared | None) -> bool:
    """Whether these are two readings of the same drain."""
    if one is None or other is None:
        return one is other
    if one.drain._replace(until=None) != other.drain._replace(until=None):
        return False
    return one.deadline == other.deadline or abs(one.deadline - other.deadline) < SAME
