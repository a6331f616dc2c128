"""The event by which hypercorn's master tells its worker processes to leave."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["shutdown_event"]


def shutdown_event() -> Any:
    """Return the event that this process polls if it is a worker of ``hypercorn --workers``.

    It stands in private attributes of the process; where they are gone, so is this, and the answer
    is None as everywhere else.
    """
    processes = sys.modules.get("multiprocessing.process")  # a worker has it loaded
    process = None if processes is None else processes.current_process()
    module: str = getattr(getattr(process, "_target", None), "__module__", None) or ""
    if not module.startswith("hypercorn."):
        return None
    arguments: dict[str, Any] = getattr(process, "_kwargs", None) or {}
    event = arguments.get("shutdown_event")
    return event if callable(getattr(event, "is_set", None)) else None
