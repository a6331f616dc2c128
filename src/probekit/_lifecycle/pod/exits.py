"""How often workers have ended themselves, counted for all workers of a server together."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, cast

from probekit._lifecycle.pod import files
from probekit._lifecycle.pod.records import is_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.pod.pod import Pod

__all__ = ["why_not_exit"]

HOUR = 3600.0

PATIENCE = 1.0
"""Seconds to wait while another worker counts."""


def why_not_exit(pod: Pod, *, clock: Callable[[], float], per_hour: int) -> str | None:
    """Count an exit of this worker, or say why there must be none.

    Where nothing is shared nobody could count, and an error that comes back at once would end one
    worker after the other for ever.

    Args:
        pod: What the workers share.
        clock: Tells the monotonic seconds of the machine.
        per_hour: How many there may be in any hour.
    """
    directory = pod.directory
    if directory is None:
        return f"exits cannot be counted: {pod.obstacle}"
    try:
        # No name that the workers' own locks could have.
        turn = wait_for_lock(directory, f"{pod.name}.exits")
        if turn is None:
            return "exits cannot be counted: another worker has been counting for too long"
        try:
            # Not before it is this worker's turn: what another has counted meanwhile would seem to
            # lie ahead, and be dropped.
            return count(directory, f"{pod.name}.exits.json", clock(), per_hour)
        finally:
            os.close(turn)
    except (OSError, files.ForeignError) as error:
        return f"exits cannot be counted in {pod.path}: {error}"


def count(directory: int, name: str, now: float, per_hour: int) -> str | None:
    """Add an exit to the file, or say that there have been enough."""
    content = files.read(directory, name) or {}
    written = cast("list[object]", content.get("at", []))
    if type(written) is not list:
        raise files.ForeignError(f"{name} makes no sense")
    moments = [each for each in written if is_moment(each) and now - HOUR < each <= now]
    if len(moments) >= per_hour:
        return (
            f"workers of this server have ended themselves {len(moments)} times in an hour, and "
            f"exits_per_hour={per_hour} allows no more"
        )
    files.write(directory, name, {"at": [*moments, now]})
    return None


def wait_for_lock(directory: int, name: str) -> int | None:
    """Take a lock as soon as it is free; None if it is not for too long."""
    deadline = time.monotonic() + PATIENCE
    while (descriptor := files.lock(directory, name)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return descriptor
