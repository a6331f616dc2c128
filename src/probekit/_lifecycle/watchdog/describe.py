"""What is said of a standstill: what holds the process, and where."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from probekit._lifecycle.watchdog.cause import UNKNOWN
from probekit._lifecycle.watchdog.places import blamed, lines_of
from probekit._lifecycle.watchdog.stall import Stall

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.engine import Engine
    from probekit._lifecycle.watchdog.stacks import Stacks

__all__ = ["loop_stall", "threads_stall"]


def loop_stall(
    since: float, engine: Engine, stacks: Stacks, *, cause: str
) -> tuple[Stall, Callable[[], str]]:
    """Describe a loop that stands still; the second part writes its stack out.

    Args:
        since: When it last moved (monotonic seconds).
        engine: Whose loop it is.
        stacks: Where its thread stands.
        cause: What the thread does.
    """
    heartbeat = engine.heartbeat
    thread, loop = heartbeat.thread or 0, heartbeat.loop
    places = stacks.of([thread]).get(thread, [])
    task = name_of(loop.running_task()) if loop is not None and stacks.ask_tasks else ""
    labels = {
        state.label: name
        for states in engine.states.values()
        for name, state in states.copy().items()
    }
    stall = Stall(
        since, cause, where=str(blamed(places) or ""), task=task, check=labels.get(task, "")
    )
    return stall, lambda: "\n".join(lines_of(places))


def threads_stall(
    since: float, busy: dict[int, str], count: int, stacks: Stacks, *, cause: str
) -> tuple[Stall, Callable[[], str]]:
    """Describe threads that are all busy with the same requests; the second part as above.

    Args:
        since: When one of them last was free, or began or ended something (monotonic seconds).
        busy: The threads, and what each is busy with.
        count: How many there are.
        stacks: Where they stand.
        cause: What they do.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = stacks.of(busy)
    blame = Counter(str(place) for places in found.values() if (place := blamed(places)))
    what = (
        "the only thread is busy with the same request"
        if count == 1
        else f"all {count} threads are busy with the same requests"
    )
    if cause != UNKNOWN:
        what += f", {cause}"
    where = next((where for where, _ in blame.most_common(1)), "")

    def write() -> str:
        # Forty threads that wait for the same lock are told once.
        alike: dict[tuple[str, ...], list[str]] = {}
        for thread, request in busy.items():
            title = f"thread {names.get(thread, thread)!r}, {request}:"
            alike.setdefault(tuple(lines_of(found.get(thread, []))), []).append(title)
        return "\n".join(line for stack, titles in alike.items() for line in (*titles, *stack))

    return Stall(since, what, where=where), write


def name_of(task: Any) -> str:
    """Return what asyncio or trio calls a task."""
    get_name = getattr(task, "get_name", None)
    return str(getattr(task, "name", "") if get_name is None else get_name())
