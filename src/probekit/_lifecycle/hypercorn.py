"""What a worker process of hypercorn knows of its master: how it says to leave, and how many."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["shutdown_event", "worker_count"]


def shutdown_event() -> Any:
    """Return the event that this process polls if it is a worker of ``hypercorn --workers``.

    It stands in private attributes of the process; where they are gone, so is this, and the answer
    is None as everywhere else.
    """
    event = arguments().get("shutdown_event")
    return event if callable(getattr(event, "is_set", None)) else None


def worker_count() -> int:
    """Return how many worker processes the master has, if this is one of them; else 0."""
    workers: object = getattr(arguments().get("config"), "workers", 0)
    return workers if isinstance(workers, int) else 0


def arguments() -> dict[str, Any]:
    """Return what hypercorn has started this process with; nothing if it has not."""
    processes = sys.modules.get("multiprocessing.process")  # a worker has it loaded
    process = None if processes is None else processes.current_process()
    module: str = getattr(getattr(process, "_target", None), "__module__", None) or ""
    if not module.startswith("hypercorn."):
        return {}
    return getattr(process, "_kwargs", None) or {}
