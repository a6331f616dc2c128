"""What ends a process that its threads hold up; in one that is not to end, so that it is recorded.

The processes that do end are in `test_below_default`.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle import ending
from probekit._lifecycle.ending import Ending
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = 0.05
ENDED = [("signal", os.getpid(), signal.SIGTERM), ("status", 143)]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Record how the process would end."""
    ends: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: ends.append(("signal", pid, number)))
    monkeypatch.setattr(os, "_exit", lambda status: ends.append(("status", status)))
    return ends


@pytest.fixture
def at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the main thread seem to have ended."""
    monkeypatch.setattr(threading, "_SHUTTING_DOWN", True)


@pytest.fixture(autouse=True)
def default() -> Iterator[None]:
    """Leave SIGTERM to the default action."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def stubborn() -> Iterator[None]:
    """Have a thread that does not end by itself."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stubborn")
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def begun(end: Ending) -> list[threading.Thread]:
    """Begin, and return the threads that wait for the end."""
    before = set(threading.enumerate())
    end.begin()
    started = set(threading.enumerate()) - before
    return [each for each in started if each.name == "probekit:sigterm-end"]


def await_end(threads: list[threading.Thread]) -> None:
    """Return when these have ended."""
    assert len(threads) == 2
    wait_until(lambda: not any(each.is_alive() for each in threads), "they have ended", patience=5)


@pytest.mark.usefixtures("at_its_end")
def test_the_threads_that_hold_the_process_up_are_named_before_it_ends(
    ends: list[tuple[object, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    """By the signal; and by its status where the signal does nothing."""
    end = Ending(SOON)
    threads = begun(end)
    end.interrupted()
    with stubborn():
        await_end(threads)
    assert ends == ENDED
    assert "held up by threads that are no daemons" in caplog.text
    assert "stubborn" in caplog.text


def test_nothing_happens_before_the_main_thread_has_ended(
    ends: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes after the interrupt."""
    end = Ending(0.0)
    threads = begun(end)
    end.interrupted()
    with stubborn():
        for thread in threads:
            thread.join(3 * ending.LOOKED_EVERY)
            assert thread.is_alive()
        assert ends == []
        monkeypatch.setattr(threading, "_SHUTTING_DOWN", True)
        await_end(threads)
    assert ends == ENDED


@pytest.mark.usefixtures("at_its_end")
def test_nobody_is_ended_who_was_not_interrupted(ends: list[tuple[object, ...]]) -> None:
    """The application has ended by itself."""
    end = Ending(0.0)
    threads = begun(end)
    end.call_off()
    with stubborn():
        await_end(threads)
    assert ends == []


@pytest.mark.usefixtures("at_its_end")
def test_a_handler_that_somebody_has_put_in_place_since_decides(
    ends: list[tuple[object, ...]],
) -> None:
    """The signal would reach him and not end the process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = Ending(0.0)
    threads = begun(end)
    end.interrupted()
    with stubborn():
        await_end(threads)
    assert ends == []


@pytest.mark.usefixtures("at_its_end")
def test_a_log_that_hangs_holds_up_no_end(
    ends: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds up the process may be a thread that cannot write its own line."""
    monkeypatch.setattr(ending, "SAID_WITHIN", SOON)
    free = threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            free.wait(10)

    handler = Hanging()
    ending.logger.addHandler(handler)
    end = Ending(0.0)
    threads = begun(end)
    end.interrupted()
    try:
        with stubborn():
            wait_until(lambda: ends == ENDED, "it ends", patience=5)
            assert any(each.is_alive() for each in threads)
    finally:
        free.set()
        await_end(threads)
        ending.logger.removeHandler(handler)


def test_without_a_thread_nothing_sees_to_the_end(
    ends: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain goes on all the same."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert begun(Ending()) == []
    assert ends == []
