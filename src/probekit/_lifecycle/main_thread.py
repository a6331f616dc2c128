"""The main thread, which alone may set signal handlers, and how another has something done there.

A thread that serves requests cannot arm SIGTERM itself. It sends the main thread a signal that
nobody uses, whose handler does it.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ask", "free_threaded", "greenlets", "is_current", "prepare", "send_signal", "wake"]

_errands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()


def prepare() -> None:
    """Make `ask` work, if this is the main thread and nobody uses SIGURG."""
    if (
        threading.current_thread() is threading.main_thread()
        and hasattr(signal, "SIGURG")
        and signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    ):
        # Not in the main thread of an interpreter that is not the main one.
        with suppress(ValueError):
            signal.signal(signal.SIGURG, _run)


def ask(errand: Callable[[], object]) -> bool:
    """Have ``errand`` done in the main thread soon, inside a signal handler; from another thread.

    Returns:
        False if there is no way.
    """
    if not hasattr(signal, "SIGURG") or signal.getsignal(signal.SIGURG) is not _run:
        return False
    _errands.put(errand)
    send_signal(signal.SIGURG)
    return True


def wake() -> None:
    """Have the main thread look whether a signal came, if it waits; from another thread."""
    if hasattr(signal, "SIGURG") and signal.getsignal(signal.SIGURG) is _run:
        send_signal(signal.SIGURG)


def is_current() -> bool:
    """Whether the caller may set signal handlers."""
    return greenlets() or threading.current_thread() is threading.main_thread()


def send_signal(number: signal.Signals) -> None:
    """Send the main thread a signal.

    Not by os.kill: the main thread itself may be in a wait that only a signal interrupts.
    """
    if greenlets():
        signal.raise_signal(number)
    else:
        signal.pthread_kill(cast("int", threading.main_thread().ident), number)


def greenlets() -> bool:
    """Whether what seems to be threads are gevent's greenlets, which all run in the main thread."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def free_threaded() -> bool:
    """Whether threads run without a GIL: to ask for the stack of another then stops the world."""
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def _run(_signum: int, _frame: object) -> None:
    with suppress(queue.Empty):
        while True:
            errand = _errands.get_nowait()
            errand()
