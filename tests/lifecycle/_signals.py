"""A server's part of SIGTERM, in this process or in one of its own that may die of it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit._lifecycle.relay import RELAY
from tests.waiting import PATIENCE, log_of, wait_until
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType
    from typing import Self

    from probekit import Observer, Probes

__all__ = [
    "DELAY",
    "REMEDY",
    "Program",
    "StandIn",
    "Twisted",
    "at_call",
    "clean_up",
    "departing",
    "end",
    "held_back",
    "restarts",
    "say",
    "sigterm",
    "started",
    "state",
]

DELAY = 0.15
"""Seconds for which the signal is held back."""

REMEDY = "run `probekit drain --wait` before it comes, in Kubernetes as preStop hook"
"""What the state advises where the signal cannot be held back."""

ROOT = Path(__file__).parents[2]
SA_RESTART = 0x10000000
"""What Linux calls it on every architecture that Python runs on."""


class StandIn:
    """Stands for a server: counts the SIGTERMs that reach its handler.

    Attributes:
        signals: When each came (monotonic seconds).
    """

    def __init__(self) -> None:
        self.signals: list[float] = []

    def handle(self, _number: int, _frame: object) -> None:
        """Take a signal."""
        self.signals.append(time.monotonic())

    def arrived(self, patience: float = 2.0) -> float:
        """Return when the signal reached it, once it has."""
        wait_until(lambda: bool(self.signals), "the server has the signal", patience=patience)
        return self.signals[0]

    def once(self) -> bool:
        """Return whether it got one signal and no other soon after."""
        self.arrived()
        time.sleep(2 * DELAY)
        return len(self.signals) == 1


class Twisted(StandIn):
    """Stands for a server that stops on the spot."""


Twisted.__module__ = "twisted.internet.base"


def started(drain_delay: float = DELAY, *observers: Observer, **options: Any) -> Probes:
    """Return Probes whose application has started in this thread."""
    probes = make_probes(drain_delay=drain_delay, observers=observers, **options)
    probes.service.sigterm.arm()
    return probes


def end(*several: Probes) -> None:
    """End the applications in this order."""
    for probes in several:
        probes.service.sigterm.disarm()


def sigterm() -> None:
    """Send SIGTERM to this process; its handler has run when this returns."""
    signal.raise_signal(signal.SIGTERM)


def state(*several: Probes) -> list[bool]:
    """Return of each whether it drains for good."""
    return [probes.draining is not None and probes.draining.final for probes in several]


def departing() -> list[threading.Thread]:
    """Return the threads that wait for the signal, or time a drain."""
    return [each for each in threading.enumerate() if each.name == "probekit:sigterm"]


def clean_up() -> None:
    """Take the library's hands off SIGTERM, whatever became of a test."""
    for member in tuple(RELAY._members):
        RELAY.leave(member)
    RELAY.dismiss()
    RELAY.forget()


@contextmanager
def held_back(number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Keep a signal from this thread, and throw away what has come for it in the end."""
    before = signal.getsignal(number)
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        after = signal.getsignal(number)
        signal.signal(number, signal.SIG_IGN)  # which forgets the pending one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.signal(number, before if after is signal.SIG_DFL else after)


@contextmanager
def at_call(
    function: object, action: Callable[[], object], *, after: bool = False
) -> Iterator[None]:
    """Do something once, in this thread, at the next call of ``function``, or when it is over.

    It is how a signal comes at a moment that chance would hit once in a million.
    """
    code = getattr(function, "__code__", None)
    wanted = ("return" if after else "call") if code else ("c_return" if after else "c_call")
    done = False

    def profile(frame: FrameType, event: str, what: object) -> None:
        nonlocal done
        if done or event != wanted:
            return
        if (frame.f_code is code) if code else (what == function):
            done = True
            action()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)
    if not done:
        raise AssertionError(f"{function} was not called")


def restarts(number: signal.Signals = signal.SIGTERM) -> bool:
    """Return whether a system call goes on after this signal, instead of being interrupted."""
    action = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).sigaction(int(number), None, action):
        raise OSError("sigaction")
    # struct sigaction of glibc and musl: a pointer, 128 bytes of mask, and then the flags.
    return bool(int.from_bytes(action.raw[136:140], sys.byteorder) & SA_RESTART)


def say(word: str) -> None:
    """Tell the test that started this program."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Program:
    """A function of a test module in a Python process of its own; a context manager that ends it.

    Args:
        function: What runs there, as the whole program.
        *arguments: For it.
        before: A command that runs Python.
        measured: Whether coverage follows. It would put a handler for SIGTERM in place there.
    """

    def __init__(
        self,
        function: Callable[..., None],
        *arguments: float | str,
        before: tuple[str, ...] = (),
        measured: bool = False,
    ) -> None:
        module, name = function.__module__, function.__name__
        source = f"from {module} import {name}\n{name}(*{arguments!r})"
        self._command = [*before, sys.executable, "-c", source]
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if measured or not name.startswith("COVERAGE_")
        }
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # a group of its own, so that its children end with it
        )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it, by force if it must be."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self._log.close()

    def said(self) -> str:
        """Return the next word that it says; empty at its end."""
        if self.process.stdout is None:
            raise RuntimeError("the program has no output")
        word = self.process.stdout.readline().rstrip()
        if not word:
            sys.stderr.write(self.log())
        return word

    def signal(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send it a signal and return the moment (monotonic seconds)."""
        self.process.send_signal(number)
        return time.monotonic()

    def end(self, patience: float = PATIENCE) -> int:
        """Return its exit status once it has ended."""
        return self.process.wait(patience)

    def log(self) -> str:
        """Return what it has written to the standard error so far."""
        return log_of(self._log)
