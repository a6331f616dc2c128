"""Put a question to another thread's loop, and wait for the answer no longer than it may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probekit._core.loops import current_loop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ask_elsewhere"]


async def ask_elsewhere(
    ask: Callable[[Callable[[], None]], object],
    post: Callable[[Callable[[], None]], object],
    *,
    answered_within: float,
    taken_within: float,
) -> bool:
    """Have ``ask`` called on another loop, and return when it has called what it is given.

    Args:
        ask: Begins the work there.
        post: Has something called on that loop.
        answered_within: Seconds after which the answer is waited for no longer.
        taken_within: Seconds after which it is waited for no longer if the loop has not even come
            round to the question.

    Returns:
        Whether it has come round to it.
    """
    here = current_loop()
    waiter, taken = here.waiter(), False

    def done() -> None:
        here.call_threadsafe(waiter.set)

    def take() -> None:
        nonlocal taken
        taken = True
        ask(done)

    def look() -> None:
        if not taken:
            waiter.set()

    unarm = here.call_later(answered_within, waiter.set)
    unarm_look = here.call_later(taken_within, look)
    post(take)
    await waiter.wait()
    unarm()
    unarm_look()
    return taken
