"""The process's one place before whatever handles SIGTERM, for all its applications together."""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from probekit._lifecycle import main_thread
from probekit._lifecycle.below import DefaultBelow, find_below, is_on_top
from probekit._lifecycle.departure import Departure, Event, run_errand

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from probekit._lifecycle.below import Below
    from probekit._lifecycle.departure import Events, Traveller
    from probekit._lifecycle.plan import Plan
    from probekit._lifecycle.servers import Server

__all__ = ["RELAY", "Layer", "Relay"]

logger = logging.getLogger("probekit")

DUPLICATE = 1.0
"""Seconds. systemd signals the whole group and a supervisor sends its own on top: a second signal
so soon is the first one again, not impatience."""


class Layer:
    """One place in the chain of handlers, with what was below when it was put there."""

    __slots__ = ("_relay", "below", "pid")

    def __init__(self, relay: Relay, below: Below) -> None:
        self._relay = relay
        self.pid: int = os.getpid()
        self.below: Below = below

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if os.getpid() == self.pid:
            self._relay.came(self, signum, frame)
        else:
            # A child that was forked with this handler in place and that nobody armed anew. What is
            # below is the server's and does nothing in a child; whoever sends this wants an end.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)


class Relay:
    """Turns all members at the first signal and passes it on when they have drained.

    At the next signal, or when the time is up, what was there before is put back and gets the
    signal. The handler changes state and nothing else, since it can interrupt any code, itself
    included: no lock, no log, no new thread.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as new: in a child that was just forked, nothing of the parent's is true."""
        self._members: list[Traveller] = []
        self._lock = threading.Lock()
        self._layer: Layer | None = None
        self._since: float | None = None
        self._plan: Plan | None = None
        self._departure: Departure | None = None
        self._events: Events | None = None

    def prepare(self) -> None:
        """Start the thread that will do what a signal handler must not; from any thread."""
        with self._lock:
            if self._events is None:
                events: Events = queue.SimpleQueue()
                self._events = events
                threading.Thread(
                    target=self._wait, args=(events,), name="probekit:sigterm", daemon=True
                ).start()

    def do(self, job: Callable[[], object]) -> None:
        """Have ``job`` done by that thread; from anywhere."""
        self._tell(job)

    def _tell(self, event: Event | Callable[[], object]) -> None:
        if self._events is not None:
            self._events.put(event)

    def dismiss(self) -> None:
        """End that thread, if there is nobody for whom it waits."""
        with self._lock:
            if not self._members and self._events is not None:
                self._events.put(None)
                self._events = None

    def join(self, member: Traveller) -> Below | str:
        """Take the signal over for ``member``; in the main thread, which alone may.

        Returns:
            What will get the signal after the drain, or what makes it unreachable.
        """
        if not self._members:
            self._since = None
        late = self._since is not None
        self._members.append(member)  # before the handler stands, or the signal would find nobody
        below = self.take()
        if isinstance(below, str):
            self._members.remove(member)
        elif late:
            member.turn()
            self.do(member.begun)
            if self._departure is not None:
                self._departure.add(member)
        return below

    def take(self) -> Below | str:
        """Stand on top of the chain, if somebody else does; see `join`."""
        layer = self._layer
        if layer is not None and is_on_top(layer):
            return layer.below
        below = self._find_below()
        if not isinstance(below, str):
            # A new one each time: whoever stands between may call the old one, which steps aside.
            self._layer, old = Layer(self, below), layer
            try:
                below.take(self._layer)
            except (OSError, RuntimeError, ValueError) as error:
                self._layer = old
                return f"the signal handler was refused: {error}"
        return below

    def _find_below(self) -> Below | str:
        top: object = signal.getsignal(signal.SIGTERM)
        if isinstance(top, Layer):  # one that nobody could take away, or that somebody put back
            return top.below if top.pid == os.getpid() else DefaultBelow()
        return find_below(self._came_by_another_way)

    def includes(self, member: Traveller) -> bool:
        """Whether the signal is taken over for ``member``."""
        return member in self._members

    def is_covered(self) -> bool:
        """Whether somebody has put a handler above ours since, before any signal came."""
        layer = self._layer
        return layer is not None and self._since is None and not is_on_top(layer)

    def look_after(self) -> None:
        """Wake a main thread that may have slept through the signal; every so often.

        On WSGI, that of granian waits for a lock without end. A signal that another thread of the
        process gets, or that comes a moment before the wait begins, does not end it.
        """
        layer = self._layer
        if layer is not None and layer.below.server.parked and not main_thread.is_current():
            main_thread.wake()

    def leave(self, member: Traveller) -> None:
        """Do nothing more for ``member``; put back what was there before the last one came."""
        if self._members != [member]:
            self._members.remove(member)
            return
        # First of all, or a signal would find no member; and under the lock, so that nothing is
        # sent again afterwards, when it would reach the server.
        with self._lock:
            layer, self._layer = self._layer, None
        self._members.remove(member)
        self.dismiss()
        if layer is None:
            return
        if main_thread.is_current():
            layer.below.put_back()
        else:
            main_thread.ask(layer.below.put_back)

    def came(self, layer: Layer, signum: int, frame: FrameType | None) -> None:
        """Handle the signal that reached ``layer``."""
        now = time.monotonic()
        if self._layer is None:
            layer.below.hand_over(signum, frame)  # whoever stands above knows no better
        elif self._since is None or self._plan is None:
            self._begin(now)
        elif now - self._since > same_within(layer.below.server, self._plan):
            self._layer = None
            self._tell(Event.RELEASED)
            layer.below.hand_over(signum, frame)

    def _came_by_another_way(self) -> bool:
        """Begin to drain, if nobody has; return whether the signal is still held back."""
        if self._since is None and self._members:
            self._begin(time.monotonic())
        elif self._since == -math.inf and self._layer is not None:
            # It was sent again, and somebody who stands above kept it.
            self._layer = None
            self._tell(Event.RELEASED)
        return self._layer is not None

    def _begin(self, now: float) -> None:
        self._since = now
        self._plan = max((member.plan for member in self._members), key=lambda plan: plan.longest)
        for member in self._members:
            member.turn()
        self._tell(Event.CAME)

    # -- in the thread ------------------------------------------------------------------------

    def _wait(self, events: Events) -> None:
        while (event := events.get()) is not None:
            if event is Event.CAME:
                self._depart(events)
            elif not isinstance(event, Event):
                run_errand(event)

    def _depart(self, events: Events) -> None:
        layer = self._layer
        if events is not self._events or layer is None:
            return  # it has ended already

        def send_again() -> bool:
            with self._lock:
                if self._layer is not layer or self._since == -math.inf:
                    return False  # it has ended meanwhile, or was sent, or a second signal came
                self._since = -math.inf  # "time is up" and "second signal" are one path
                main_thread.send_signal(signal.SIGTERM)
                return True

        departure = Departure(self._members, layer.below, events, hand_over=send_again)
        self._departure = departure
        stopped = in_time(departure, send_again)
        if isinstance(layer.below, DefaultBelow):
            layer.below.accompany()
        try:
            departure.run()
        except Exception:
            logger.exception("SIGTERM: probekit failed to drain; handing the signal over now")
            send_again()
        finally:
            self._departure = None
            stopped.set()


def same_within(server: Server, plan: Plan) -> float:
    """Return for how many seconds after the first signal another is the same one."""
    # A server that waits gets it after the drain in any case. One that does not is the end of
    # what is in flight, which would be waited for otherwise, with or without a delay.
    return min(DUPLICATE, plan.longest) if server.waits else DUPLICATE


def in_time(departure: Departure, send_again: Callable[[], bool]) -> threading.Event:
    """Send the signal again when a drain ought to have ended; return what prevents it.

    Its own thread tells observers and logs, and either may hang.
    """
    stopped = threading.Event()

    def wait() -> None:
        while (left := departure.left()) > 0:
            if stopped.wait(left):
                return
        if send_again():
            logger.error(
                "SIGTERM: the drain has not come to its end in time, since an observer or the log "
                "holds up its thread; handing the signal over now"
            )

    with suppress(RuntimeError):  # no thread can be started
        threading.Thread(target=wait, name="probekit:sigterm-limit", daemon=True).start()
    return stopped


RELAY = Relay()
"""The one of this process: a signal is the process's, however many applications there are."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RELAY.forget)
