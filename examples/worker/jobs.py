"""What a queue holds, what every queue can do, and the queue for want of a Redis."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Protocol

ATTEMPTS = int(os.environ.get("ATTEMPTS", "5"))
"""How often a job may be begun, a worker that died of it included, before it is a dead letter."""


@dataclass(frozen=True)
class Job:
    """An invoice to render; in this example it only takes its time.

    Attributes:
        seconds: How long it takes.
        kind: ``"fail"``: it raises then.
        id: What the log calls it.
        enqueued: When it was ordered, in seconds since the epoch.
    """

    seconds: float = 0.1
    kind: Literal["render", "fail"] = "render"
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    enqueued: float = field(default_factory=time.time)

    @classmethod
    def read(cls, text: str) -> Job:
        """Return the job that was written.

        Raises:
            TypeError, ValueError: It is none.
        """
        return cls(**json.loads(text))

    def write(self) -> str:
        """Return it as the queue keeps it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Taken:
    """A job in a consumer's hands.

    Attributes:
        job: What to do.
        attempt: How often it has been begun, this time included.
        holder: In whose hands.
        text: The job as it was found.
    """

    job: Job
    attempt: int
    holder: str = ""
    text: str = ""


class Queue(Protocol):
    """What the worker needs of a queue: every job is done at least once, whoever dies."""

    def put(self, *jobs: Job) -> None:
        """Add jobs."""

    def take(self, consumer: str, *, wait: float) -> Taken | None:
        """Return the next job, or None if there is none for ``wait`` seconds."""

    def done(self, taken: Taken) -> None:
        """Forget a job: it is done."""

    def failed(self, taken: Taken) -> None:
        """Put a job at the end of the queue, or to the dead letters if it has failed too often."""

    def requeue(self, taken: Taken) -> None:
        """Put a job back at the front, through no fault of its own."""

    def keep(self) -> None:
        """Say that this worker lives, and put back what dead ones held; call it again and again."""

    def leave(self) -> None:
        """Say that this worker holds nothing any more."""

    def depth(self) -> int:
        """Return how many jobs wait."""

    def oldest(self) -> float:
        """Return for how many seconds the next job has waited; 0.0 if there is none."""

    def dead(self) -> int:
        """Return how many dead letters there are."""


class MemoryQueue:
    """A queue in this process, which dies with it: to try the worker without a Redis."""

    def __init__(self) -> None:
        self._waiting: deque[Taken] = deque()
        self._dead: list[Job] = []
        self._changed = threading.Condition()

    def put(self, *jobs: Job) -> None:
        """Add jobs."""
        with self._changed:
            self._waiting.extend(Taken(job, attempt=0) for job in jobs)
            self._changed.notify(len(jobs))

    def take(self, consumer: str, *, wait: float) -> Taken | None:
        """Return the next job, or None if there is none for ``wait`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout=wait):
                return None
            taken = self._waiting.popleft()
        return replace(taken, attempt=taken.attempt + 1, holder=consumer)

    def done(self, taken: Taken) -> None:
        """Forget a job: nothing is kept of what was taken."""

    def failed(self, taken: Taken) -> None:
        """Put a job at the end of the queue, or to the dead letters if it has failed too often."""
        with self._changed:
            if taken.attempt >= ATTEMPTS:
                self._dead.append(taken.job)
            else:
                self._waiting.append(taken)
                self._changed.notify()

    def requeue(self, taken: Taken) -> None:
        """Put a job back at the front, through no fault of its own."""
        with self._changed:
            self._waiting.appendleft(replace(taken, attempt=taken.attempt - 1))
            self._changed.notify()

    def keep(self) -> None:
        """Do nothing: there are no other workers."""

    def leave(self) -> None:
        """Do nothing: nobody asks."""

    def depth(self) -> int:
        """Return how many jobs wait."""
        return len(self._waiting)

    def oldest(self) -> float:
        """Return for how many seconds the next job has waited; 0.0 if there is none."""
        with self._changed:
            return time.time() - self._waiting[0].job.enqueued if self._waiting else 0.0

    def dead(self) -> int:
        """Return how many dead letters there are."""
        return len(self._dead)
