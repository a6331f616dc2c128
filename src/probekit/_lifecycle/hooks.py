"""What an application does when it leaves: run beside the drain, limited, and harmless."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from probekit._core.functions import check_callable, location
from probekit._core.model import DrainStep
from probekit._core.seconds import is_seconds
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.engine import Engine

__all__ = ["Hook", "Hooks", "make_hook"]

logger = logging.getLogger("probekit")

FAILED = "on_drain hook %s (%s) failed; the drain goes on without it"


class Hook(NamedTuple):
    """A function to call at a step of leaving.

    Attributes:
        function: What is called, without arguments.
        step: When.
        timeout: Seconds that it may take.
        is_async: Whether it is awaited on the application's loop or called on a thread.
    """

    function: Callable[[], Any]
    step: DrainStep
    timeout: float
    is_async: bool

    @property
    def where(self) -> str:
        """Where it is defined, for messages to people."""
        return location(self.function)


def make_hook(function: Any, *, step: object, timeout: object) -> Hook:
    """Return the hook that these arguments describe.

    Raises:
        ConfigurationError: If they make no sense.
    """
    what = f"on_drain hook {location(function)}"
    is_async = check_callable(function, what=what, kind="a hook")
    if not isinstance(step, DrainStep):
        known = ", ".join(f"DrainStep.{each.name}" for each in DrainStep)
        raise ConfigurationError(f"{what}: step must be one of {known}, got {step!r}")
    if is_async and step is DrainStep.CLOSED:
        raise ConfigurationError(
            f"{what}: an async hook cannot run at DrainStep.CLOSED, when the event loop ends; make "
            f"it a plain def, or clean up in the application's lifespan"
        )
    if not is_seconds(timeout):
        raise ConfigurationError(f"{what}: timeout must be > 0 seconds, got {timeout!r}")
    return Hook(function, step, float(timeout), is_async)


class Hooks:
    """Runs hooks: async ones on the application's loop, the others each on a thread of its own.

    Whatever a hook does, nobody waits for it: one that raises is logged, one that takes too long
    is cancelled if it is async, and left alone on its thread if it is not.

    Args:
        engine: Knows the application's loop.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, hook: Hook) -> None:
        """Begin ``hook`` and return."""
        name = f"probekit:{hook.step.name.lower()}"
        if not hook.is_async:
            threading.Thread(target=on_thread, args=(hook,), name=name, daemon=True).start()
        elif not self._engine.spawn_threadsafe(lambda: on_loop(hook), name=name):
            logger.error(
                "on_drain hook %s did not run: it is async, and the application's event loop is "
                "not known or has ended; make it a plain def",
                hook.where,
            )


def on_thread(hook: Hook) -> None:
    """Call a hook, and say so if it takes too long."""
    timer = threading.Timer(hook.timeout, log_overdue, [hook, "goes on by itself"])
    timer.daemon = True
    timer.start()
    try:
        hook.function()
    except BaseException:
        logger.exception(FAILED, hook.where, hook.step.value)
    finally:
        timer.cancel()


async def on_loop(hook: Hook) -> None:
    """Await a hook, and cancel it if it takes too long."""
    try:
        with anyio.move_on_after(hook.timeout) as scope:
            await hook.function()
    except anyio.get_cancelled_exc_class():
        raise  # the application's loop ends
    except BaseException:  # on asyncio SystemExit from a task would end the loop
        logger.exception(FAILED, hook.where, hook.step.value)
    else:
        if scope.cancelled_caught:
            log_overdue(hook, "was cancelled")


def log_overdue(hook: Hook, end: str) -> None:
    """Log that a hook takes too long."""
    logger.warning(
        "on_drain hook %s (%s) took longer than its timeout of %g s and %s; nobody waits for it",
        hook.where,
        hook.step.value,
        hook.timeout,
        end,
    )
