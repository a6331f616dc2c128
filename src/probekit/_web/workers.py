"""The workers of a server, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probekit._web.render import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probekit._lifecycle.pod.records import Worker

__all__ = ["workers_body", "workers_text"]

SHOWN = 5
"""How many of those in flight are named."""
READY = {True: "ready", False: "not ready", None: "starting"}


def workers_body(workers: Sequence[Worker], now: float) -> dict[str, Any]:
    """Return what all workers are busy with, together and one by one.

    Args:
        workers: What each said of itself.
        now: Monotonic seconds.
    """
    latest = [worker.latest for worker in workers if worker.latest is not None]
    oldest = sorted(
        (since, what, worker.pid) for worker in workers for what, since in worker.oldest
    )
    return {
        "in_flight": {
            "requests": sum(worker.requests for worker in workers),
            "websockets": sum(worker.websockets for worker in workers),
            "jobs": sum(worker.jobs for worker in workers),
        },
        "oldest": [
            {"what": what, "age": age(now, since), "pid": pid}
            for since, what, pid in oldest[:SHOWN]
        ],
        "last_request": age(now, max(latest)) if latest else None,
        "seen_503": max(worker.seen_503 for worker in workers),
        "workers": [worker_body(worker, now) for worker in workers],
    }


def worker_body(worker: Worker, now: float) -> dict[str, Any]:
    """Return one worker's line."""
    return {
        "pid": worker.pid,
        "started": moment(int(worker.started)),
        "age": age(now, worker.at),
        "ready": worker.ready,
        "draining": worker.draining,
        "requests": worker.requests,
        "websockets": worker.websockets,
        "jobs": worker.jobs,
        "loop_lag": worker.loop_lag,
        "stuck": worker.stuck or None,
    }


def workers_text(workers: Sequence[Worker], now: float) -> str:
    """Return a line for each worker, for ``?verbose``; nothing where there is but one."""
    if len(workers) < 2:
        return ""
    return "".join(
        f"worker {worker.pid}: {READY[worker.ready]}"
        f"{', draining' if worker.draining else ''}, requests {worker.requests}, "
        f"websockets {worker.websockets}, jobs {worker.jobs}, "
        f"loop {worker.loop_lag} s late, said {age(now, worker.at)} s ago"
        f"{f'; stuck: {worker.stuck}' if worker.stuck else ''}\n"
        for worker in workers
    )


def age(now: float, since: float) -> float:
    """Return the seconds since then, as they are shown."""
    return round(max(0.0, now - since), 1)
