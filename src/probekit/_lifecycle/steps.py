"""The steps of leaving, in order: each reached once, awaited or hooked by whoever cares."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._core.loops import current_loop
from probekit._core.model import DrainStep
from probekit._lifecycle.hooks import check_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.hooks import Hook, Hooks

__all__ = ["Steps"]

logger = logging.getLogger("probekit")

ORDER = tuple(DrainStep)


class Steps:
    """How far this drain has come.

    Readable and usable from any thread, but from no signal handler.

    Args:
        hooks: What runs the application's hooks.
    """

    def __init__(self, *, hooks: Hooks) -> None:
        self._hooks = hooks
        self._declared: list[Hook] = []
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Begin at the beginning, with a lock that nobody holds and nobody who waits."""
        self._lock = threading.RLock()
        self._reached = 0  # how many of them
        self._waiting: list[tuple[DrainStep, Callable[[], object]]] = []

    def add(self, hook: Hook) -> None:
        """Run ``hook`` when its step is reached; at once if it has been."""
        with self._lock:
            self._declared.append(hook)
            late = self.reached(hook.step)
        if late:
            self._run(hook)

    def _run(self, hook: Hook) -> None:
        attempt(partial(self._hooks.run, hook), f"on_drain hook {hook.where}")

    def reached(self, step: DrainStep) -> bool:
        """Whether the drain has come to ``step``."""
        return ORDER.index(step) < self._reached

    def reach(self, step: DrainStep, said: str = "") -> None:
        """Come to ``step``, once; the steps before it that nobody has seen count with it.

        Args:
            step: Where the drain has come to.
            said: What the log says of it.
        """
        with self._lock:
            new = ORDER[self._reached : ORDER.index(step) + 1]
            self._reached += len(new)
            hooks = [hook for each in new for hook in self._declared if hook.step is each]
            wake = [wake for awaited, wake in self._waiting if awaited in new]
        if new and said:
            logger.info("drain: %s: %s", step.value, said)
        for hook in hooks:
            self._run(hook)
        for each in wake:
            attempt(each, "a wake-up of wait_for")

    def start_over(self) -> None:
        """Forget them all: the drain was ended, and the next one begins at the beginning."""
        with self._lock:
            self._reached = 0

    async def wait(self, step: DrainStep) -> None:
        """Return when the drain has come to ``step``.

        Raises:
            ConfigurationError: If that is no step.
        """
        check_step("wait_for", step)
        loop = current_loop()
        waiter = loop.waiter()
        entry = step, lambda: loop.call_threadsafe(waiter.set)
        with self._lock:
            if self.reached(step):
                return
            self._waiting.append(entry)
        try:
            await waiter.wait()
        finally:
            with self._lock, suppress(ValueError):  # gone, if this process was forked meanwhile
                self._waiting.remove(entry)


def attempt(action: Callable[[], object], what: str) -> None:
    """Do what belongs to a step; if it fails, the others and the drain are none the worse."""
    try:
        action()
    except Exception:
        logger.exception("%s could not be begun; the drain goes on without it", what)
