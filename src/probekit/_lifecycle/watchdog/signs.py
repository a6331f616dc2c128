"""What shows from outside that a process moves."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from probekit._lifecycle.traffic import describe

if TYPE_CHECKING:
    from probekit._core.heartbeat import Heartbeat
    from probekit._lifecycle.traffic import Traffic

__all__ = ["LoopSigns", "ThreadSigns"]

UNSEEN = object()
"""What was not looked at last time."""


class Finished:
    """Tells whether something that was in flight is no more.

    Args:
        traffic: What is in flight.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._before: set[int] | None = None

    def forget(self) -> None:
        """Begin anew."""
        self._before = None

    def look(self) -> bool:
        """Whether one of those of the last look is gone."""
        traffic = self._traffic
        # Copies, since they change in another thread; numbers, so that nothing is kept alive.
        kinds = (traffic.requests, traffic.websockets, traffic.jobs)
        now = {id(key) for kind in kinds for key in kind.copy()}
        before, self._before = self._before, now
        return before is not None and not before <= now


class LoopSigns:
    """What shows that an event loop moves.

    It beats; or a request comes; or something that was in flight is finished; or it runs another
    task than before. The beat alone would not do: a burst of 256 requests of 20 ms each keeps a
    loop from it for five seconds.

    Args:
        heartbeat: The loop's.
        traffic: What is in flight.
    """

    def __init__(self, heartbeat: Heartbeat, traffic: Traffic) -> None:
        self._heartbeat = heartbeat
        self._traffic = traffic
        self._finished = Finished(traffic)
        self._before: object = UNSEEN
        self._task: object = UNSEEN

    def seen(self, *, ask_tasks: bool) -> bool:
        """Whether there was a sign since the last look, or there is no loop that turns."""
        heartbeat = self._heartbeat
        now = heartbeat.thread, heartbeat.beats, self._traffic.latest
        before, self._before = self._before, now
        if heartbeat.thread is None or now != before or self._has_ended():
            # The rest is looked at while a beat is overdue, and at no other time.
            self._finished.forget()
            self._task = UNSEEN
            return True
        return any([self._finished.look(), ask_tasks and self._runs_another_task()])

    def _has_ended(self) -> bool:
        # Without a lifespan nobody tells of it: asyncio.run() has returned, or a thread has died.
        loop = self._heartbeat.loop
        return loop is not None and not loop.is_running()

    def _runs_another_task(self) -> bool:
        loop = self._heartbeat.loop
        task = None if loop is None else loop.running_task()
        now = None if task is None else weakref.ref(task)
        before, self._task = self._task, now
        return before is not UNSEEN and before != now

    def natives(self) -> list[int]:
        """Return the loop's thread."""
        native = self._heartbeat.native
        return [] if native is None else [native]


class ThreadSigns:
    """What shows that the threads of a WSGI server move.

    One of them is free, or a request comes, or one is finished, or another part of a body goes out.

    Args:
        traffic: What is in flight.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._finished = Finished(traffic)
        self._before: object = UNSEEN

    @property
    def saturated(self) -> bool:
        """Whether none is free; False where nobody knows how many there are."""
        threads = self._traffic.threads
        return threads is not None and len(self._traffic.requests) >= threads

    def seen(self, *, ask_tasks: bool) -> bool:
        """Whether there was a sign since the last look, or a thread is free."""
        del ask_tasks
        now = self._traffic.latest, self._traffic.parts
        before, self._before = self._before, now
        if not self.saturated or now != before:
            self._finished.forget()
            return True
        return self._finished.look()

    def busy(self) -> dict[int, str]:
        """Return the threads that requests are handled in, and which; where the door has noted it.

        The request that has been there longest comes first.
        """
        entries = sorted(self._traffic.requests.copy().values(), key=lambda entry: entry[1])
        return {
            thread: describe(scope)
            for scope, _ in entries
            if isinstance(thread := scope.get("thread"), int)
        }

    def natives(self) -> list[int]:
        """Return the threads of the requests, as far as Python knows their names."""
        busy = self.busy()
        return [
            thread.native_id
            for thread in threading.enumerate()
            if thread.ident in busy and thread.native_id is not None
        ]
