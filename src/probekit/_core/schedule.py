"""When the background checks run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.loops import Loop
    from probekit._core.state import CheckState

__all__ = ["Schedule"]


class Schedule:
    """Calls ``run`` for each background check, every ``interval`` seconds, on the loop."""

    def __init__(self, run: Callable[[CheckState, Loop], None]) -> None:
        self._run = run
        self._timers: dict[CheckState, Callable[[], object]] = {}

    def add(self, state: CheckState, loop: Loop) -> None:
        """Plan the first run of ``state``, unless it runs on request or is planned already."""
        check = state.check
        if check.interval is None or state in self._timers:
            return
        delay = check.initial_delay
        if delay is None:
            # Replicas that a rollout starts together must not knock at the database together.
            delay = random.uniform(0.0, check.interval)  # noqa: S311 - no secret depends on it
        self._plan(state, loop, delay)

    def clear(self) -> None:
        """Plan nothing any more."""
        for unarm in self._timers.values():
            unarm()
        self._timers.clear()

    def _plan(self, state: CheckState, loop: Loop, delay: float) -> None:
        def due() -> None:
            # The next one first: a run that fails must not be the last.
            self._plan(state, loop, state.check.interval or 0.0)
            self._run(state, loop)

        self._timers[state] = loop.call_later(delay, due)
