"""What an application does when it leaves: run beside the drain, limited, and harmless."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from probekit._core.functions import check_callable, drop_awaitable, location
from probekit._core.loops import is_cancelled
from probekit._core.model import DrainStep
from probekit._core.seconds import refuse_seconds
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.engine import Engine

__all__ = ["Hook", "Hooks", "check_step", "make_hook"]

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


def make_hook(function: Any, *, step: object, timeout: float) -> Hook:
    """Return the hook that these arguments describe.

    Raises:
        ConfigurationError: If they make no sense.
    """
    what = f"on_drain hook {location(function)}"
    is_async = check_callable(function, what=what, kind="a hook")
    step = check_step(what, step)
    if is_async and step is DrainStep.CLOSED:
        raise ConfigurationError(
            f"{what}: an async hook cannot run at DrainStep.CLOSED, when the event loop ends; make "
            f"it a plain def, or clean up in the application's lifespan"
        )
    refuse_seconds(what, "timeout", timeout)
    return Hook(function, step, float(timeout), is_async)


def check_step(what: str, step: object) -> DrainStep:
    """Return ``step``, or refuse what is none."""
    if isinstance(step, DrainStep):
        return step
    known = ", ".join(f"DrainStep.{each.name}" for each in DrainStep)
    raise ConfigurationError(f"{what}: step must be one of {known}, got {step!r}")


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
            thread = threading.Thread(target=on_thread, args=(hook,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                logger.error(  # noqa: TRY400 - a traceback of the drain tells nothing of the hook
                    "on_drain hook %s (%s) did not run: no thread could be started: %s",
                    hook.where,
                    hook.step.value,
                    error,
                )
        elif not self._engine.spawn_threadsafe(
            lambda: on_loop(hook),
            name=name,
            timeout=hook.timeout,
            overdue=lambda: log_overdue(hook, "is cancelled"),
        ):
            logger.error(
                "on_drain hook %s did not run: it is async, and the application's event loop is "
                "not known or has ended; make it a plain def",
                hook.where,
            )


def on_thread(hook: Hook) -> None:
    """Call a hook, and say so if it takes too long."""
    timer = threading.Timer(hook.timeout, log_overdue, [hook, "goes on by itself"])
    timer.daemon = True
    with suppress(RuntimeError):  # without a thread for it the hook is not timed, but it runs
        timer.start()
    try:
        result: object = hook.function()
        if drop_awaitable(result):
            logger.error(
                "on_drain hook %s (%s) returned %r, which nobody awaits; declare an async def",
                hook.where,
                hook.step.value,
                result,
            )
    except BaseException:
        logger.exception(FAILED, hook.where, hook.step.value)
    finally:
        timer.cancel()


async def on_loop(hook: Hook) -> None:
    """Await a hook, whatever it raises."""
    try:
        await hook.function()
    except BaseException as error:  # on asyncio SystemExit from a task would end the loop
        if is_cancelled(error):
            raise  # it took too long, or the loop ends
        logger.exception(FAILED, hook.where, hook.step.value)


def log_overdue(hook: Hook, end: str) -> None:
    """Log that a hook takes too long."""
    logger.warning(
        "on_drain hook %s (%s) took longer than its timeout of %g s and %s; nobody waits for it",
        hook.where,
        hook.step.value,
        hook.timeout,
        end,
    )
