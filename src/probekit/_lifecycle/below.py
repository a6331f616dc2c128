"""What would get SIGTERM if probekit were not there, and how it gets it in the end.

Who finds out what that is: `find_below`. Everything here runs in the main thread, which alone may
set handlers, and most of it inside a signal handler: no lock, no log, no new thread.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from probekit._lifecycle.ending import Ending
from probekit._lifecycle.hypercorn import shutdown_event
from probekit._lifecycle.servers import Server, gunicorn_worker, server_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from probekit._lifecycle.relay import Layer

__all__ = ["Below", "DefaultBelow", "find_below", "is_on_top"]

SIGTERM = signal.SIGTERM

OUTSIDE = "SIGTERM is handled outside Python"

DEFAULT = Server("the default action", waits=False, nobody=True)

INTERRUPTIBLE = {"waitress", "werkzeug"}
"""Servers that have no handler for SIGTERM and end in order when they are interrupted."""


class Below(ABC):
    """The next in the chain of those who handle SIGTERM."""

    def __init__(self, handler: Any, server: Server, *, restarts: bool = False) -> None:
        self.server: Server = server
        self._handler = handler
        self._restarts = restarts
        self._layer: Layer | None = None

    def take(self, layer: Layer) -> None:
        """Put ``layer`` above it."""
        self._layer = layer
        self._set(layer)

    def put_back(self) -> None:
        """Leave everything as it was before `take`, if nobody stands above."""
        if is_on_top(self._layer):
            self._set(self._handler)

    @abstractmethod
    def hand_over(self, signum: int, frame: FrameType | None) -> None:
        """Put back what was there, and let it have the signal once."""

    def _set(self, handler: Any) -> None:
        signal.signal(SIGTERM, handler)
        if self._restarts:
            # Only where it was so before: elsewhere a main thread that waits must be interrupted,
            # or the handler does not run until the wait is over.
            signal.siginterrupt(SIGTERM, False)


class HandlerBelow(Below):
    """A handler that `signal.signal` has set: uvicorn's, gunicorn's, daphne's, anybody's."""

    def hand_over(self, signum: int, frame: FrameType | None) -> None:
        if is_on_top(self._layer):
            self.put_back()
            signal.raise_signal(SIGTERM)
        else:  # whoever stands above has had it already
            self._handler(signum, frame)


class LoopBelow(Below):
    """A callback of an event loop, `loop.add_signal_handler`: hypercorn's, granian's, gunicorn's.

    The loop does not look at the handler that Python calls: it reads the signal's number from a
    pipe, which C writes to, and looks the callback up in a table. Ours must stand there, too.
    """

    def __init__(
        self,
        handler: Any,
        loop: asyncio.AbstractEventLoop,
        table: dict[int, Any],
        came: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._table = table
        self._parked = table[SIGTERM]
        self._ours: Any = None
        self._came = came
        super().__init__(handler, server_of(callback_of(self._parked)), restarts=True)

    def take(self, layer: Layer) -> None:
        self._released = self._ending = False
        self._loop.add_signal_handler(SIGTERM, self._read_from_pipe)
        self._ours = self._table[SIGTERM]
        super().take(layer)

    def put_back(self) -> None:
        if self._table.get(SIGTERM) is self._ours:
            self._table[SIGTERM] = self._parked
        super().put_back()

    def hand_over(self, signum: int, frame: FrameType | None) -> None:
        # This signal is in the pipe as well; `_read_from_pipe` does the rest.
        del signum, frame
        self._released = True

    def _read_from_pipe(self) -> None:
        if not self._released and self._came():
            return  # one that came just before ours stood there has met nobody else
        self._released = True
        if not self._ending:
            self._ending = True
            # What was read before the hand-over may be on its way here; two turns later the pipe
            # is empty of it.
            self._loop.call_soon(self._loop.call_soon, self._finish)

    def _finish(self) -> None:
        if self._table.get(SIGTERM) is self._ours:
            on_top = is_on_top(self._layer)
            self.put_back()
            if on_top:
                signal.raise_signal(SIGTERM)  # a handler beside the loop's gets it as well
            else:
                tell_loop()  # whoever stands above has had it already


class DefaultBelow(Below):
    """The default action, which ends the process on the spot."""

    def __init__(self) -> None:
        super().__init__(signal.SIG_DFL, DEFAULT)
        self._ending = Ending()

    def take(self, layer: Layer) -> None:
        self._ending = Ending()
        super().take(layer)

    def put_back(self) -> None:
        self._ending.call_off()
        super().put_back()

    def accompany(self) -> None:
        """See to it that an interrupt will end the process; called from a thread, before."""
        self._ending.begin()

    def hand_over(self, signum: int, frame: FrameType | None) -> None:
        del signum
        signal.signal(SIGTERM, signal.SIG_DFL)
        packages = set(packages_on_stack(frame))
        if "trio" in packages and callable(signal.getsignal(signal.SIGINT)):
            self._ending.interrupted()
            interrupt_trio()
        elif os.getpid() == 1 or packages & INTERRUPTIBLE:
            # The kernel keeps the default action from process 1, but not an exception.
            self._ending.interrupted()
            raise KeyboardInterrupt
        else:
            self._ending.call_off()  # this is the end, unless somebody has the signal blocked
            signal.raise_signal(SIGTERM)


class HypercornBelow(Below):
    """An event that hypercorn's worker processes ask for; no signal reaches them.

    To wrap the worker's own copy is the only way in, and private: see `shutdown_event`.
    """

    def __init__(self, handler: Any, event: Any, came: Callable[[], bool]) -> None:
        super().__init__(handler, Server("hypercorn"))
        self._event = event
        self._really_set = event.is_set
        self._came = came

    def take(self, layer: Layer) -> None:
        super().take(layer)
        self._released = False
        self._event.is_set = self._is_set

    def put_back(self) -> None:
        self._event.is_set = self._really_set
        super().put_back()

    def hand_over(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._released = True
        if is_on_top(self._layer):
            # As soon as one worker has ended, the master sends SIGTERM to those that are still busy
            # with their last requests; they are leaving already.
            self._set(do_nothing)

    def _is_set(self) -> bool:
        if not self._released and self._really_set():
            self._released = not self._came()
        return self._released


def do_nothing(_signum: int, _frame: FrameType | None) -> None:
    """Take a signal and do nothing."""


def is_on_top(layer: Layer | None) -> bool:
    """Whether the signal reaches ``layer`` before any other handler."""
    top: object = signal.getsignal(SIGTERM)
    return top is layer


def find_below(came: Callable[[], bool]) -> Below | str:
    """Return what would get SIGTERM now, or what makes it unreachable.

    Args:
        came: Is called when the signal came by another way than the handler.
    """
    handler: Any = signal.getsignal(SIGTERM)
    if handler is None:
        return OUTSIDE
    if handler is signal.SIG_IGN:
        return "SIGTERM is ignored by this process"
    loop: Any = asyncio._get_running_loop()  # the form that does not raise
    if loop is not None and (table := signal_table(loop)) is not None:
        return LoopBelow(handler, loop, table, came)
    if getattr(handler, "__module__", None) == "asyncio.unix_events" or (
        loop is not None and getattr(handler, "__self__", None) is loop
    ):
        name = "none runs here"
        if loop is not None:
            name = f"{type(loop).__module__}.{type(loop).__qualname__}"
        return f"an event loop owns SIGTERM and keeps it to itself ({name})"
    if (event := shutdown_event()) is not None:
        return HypercornBelow(handler, event, came)
    if handler is signal.SIG_DFL:
        return OUTSIDE if is_caught() else DefaultBelow()
    bound = getattr(handler, "__self__", None)
    gunicorns_own = bound is not None and gunicorn_worker(handler) is bound
    return HandlerBelow(handler, server_of(handler), restarts=gunicorns_own)


def signal_table(loop: Any) -> dict[int, Any] | None:
    """Return the table of an asyncio or uvloop loop that has a callback for SIGTERM."""
    tables: Iterator[Any] = iter((getattr(loop, "_signal_handlers", None),))  # asyncio
    if any(base.__module__.startswith("uvloop") for base in type(loop).__mro__):
        tables = iter(gc.get_referents(loop))  # there it is an attribute of C's
    for table in tables:
        # uvloop has tables by file descriptor, too, and 15 may be one; but what they hold is other.
        if isinstance(table, dict):
            entry: object = cast("dict[int, Any]", table).get(SIGTERM)
            if entry.__class__ in handle_classes():
                return cast("dict[int, Any]", table)
    return None


def handle_classes() -> Iterator[type]:
    """Yield the classes of what stands in the tables of signals."""
    yield asyncio.Handle
    uvloop: Any = sys.modules.get("uvloop.loop")
    if uvloop is not None:
        yield uvloop.Handle


def is_caught() -> bool:
    """Whether C code handles SIGTERM, which Python does not know if it began after Python did."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # not on Linux
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGTERM - 1) & 1)


def callback_of(handle: Any) -> object:
    """Return what a handle of asyncio's or uvloop's calls."""
    callback = getattr(handle, "_callback", None)
    if callback is not None:
        return callback
    return next((each for each in gc.get_referents(handle) if callable(each)), None)


def tell_loop() -> None:
    """Let the running loop read SIGTERM from its pipe once more; no Python handler is called."""
    pipe = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
    os.write(pipe, bytes([SIGTERM]))


def packages_on_stack(frame: FrameType | None) -> Iterator[str]:
    """Yield the packages whose code the main thread is in."""
    while frame is not None:
        yield frame.f_globals.get("__name__", "").partition(".")[0]
        frame = frame.f_back


def interrupt_trio() -> None:
    """Interrupt trio's main task: from a frame that is protected it goes there and not here."""
    trio: Any = sys.modules["trio"]

    @trio.lowlevel.enable_ki_protection  # type: ignore[untyped-decorator] # trio is no dependency
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    interrupt()
