"""Where SIGTERM cannot be held back: it says so once, with the remedy, and touches nothing."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tests.waiting import wait_until
from tests.web._asking import HeldClock, make_probes

from ._signals import (
    REMEDY,
    Program,
    StandIn,
    clean_up,
    departing,
    end,
    say,
    sigterm,
    started,
    state,
)

if TYPE_CHECKING:
    import pytest


def unsupported(why: str) -> str:
    """Return what the state says."""
    return f"unsupported: {why}; {REMEDY}"


def told_once(caplog: pytest.LogCaptureFixture, why: str) -> bool:
    """Return whether the log says it once, as a warning."""
    text = f"SIGTERM will not drain first: {unsupported(why)}"
    return [record.levelname for record in caplog.records if text in record.getMessage()] == [
        "WARNING"
    ]


def test_a_process_that_ignores_the_signal_goes_on_ignoring_it(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever started it so will end it in another way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = len(departing())
    probes = started()
    why = "SIGTERM is ignored by this process"
    assert probes.sigterm == unsupported(why)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    sigterm()
    assert state(probes) == [False]
    assert told_once(caplog, why)
    wait_until(lambda: len(departing()) <= before, "the thread has ended", patience=2)
    assert server.signals == []


def test_a_handler_from_outside_python_stays(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that embeds Python had one before; there is no way to put it back."""
    with monkeypatch.context() as patch:
        # Only an embedding program can have one there before Python looks.
        patch.setattr(signal, "getsignal", lambda _number: None)
        probes = started()
    assert probes.sigterm == unsupported("SIGTERM is handled outside Python")
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert told_once(caplog, "SIGTERM is handled outside Python")


def with_a_handler_of_c() -> None:
    """Have C handle SIGTERM, unseen by Python, and start an application."""
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _number: say("C has it"))
    ctypes.CDLL(None).signal(int(signal.SIGTERM), handler)
    say(started(0.1).sigterm)
    sigterm()
    time.sleep(0.5)
    say("goes on")


def test_a_handler_that_an_extension_put_in_place_stays() -> None:
    """The extension's is called, at once, and the process does not die of the signal instead."""
    with Program(with_a_handler_of_c) as program:
        assert program.said() == unsupported("SIGTERM is handled outside Python")
        assert program.said() == "C has it"
        assert program.said() == "goes on"


def test_windows_sends_no_such_signal(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Python has no call there that would send it again."""
    monkeypatch.delattr(signal, "pthread_kill")
    probes = started()
    why = "Windows sends no SIGTERM that could be held back"
    assert probes.sigterm == unsupported(why)
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert told_once(caplog, why)


def test_uwsgi_keeps_the_signal_to_itself(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It puts its own handler in place in C, after the application was loaded."""
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    probes = started()
    assert probes.sigterm == unsupported("uWSGI handles SIGTERM outside Python")
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert told_once(caplog, "uWSGI handles SIGTERM outside Python")


SOURCE = "from tests.lifecycle.test_sigterm_obstacles import refused; refused()"


def in_a_sub_interpreter() -> None:
    """Start an application in an interpreter that is not the process's first."""
    new = sys.version_info >= (3, 13)
    interpreters: Any = import_module("_interpreters" if new else "_xxsubinterpreters")
    # One with threads of its own, as mod_wsgi and its kin make them.
    interpreter = interpreters.create("legacy") if new else interpreters.create(isolated=False)
    path = f"import sys; sys.path[:] = {sys.path!r}; "
    interpreters.run_string(interpreter, path + SOURCE)
    interpreters.destroy(interpreter)


def refused() -> None:
    """Start an application, say how it stands, and leave no thread behind."""
    say(started().sigterm)
    wait_until(lambda: not departing(), "the thread has ended")


def test_a_sub_interpreter_may_not_handle_signals() -> None:
    """Its main thread is none to whom signals come."""
    with Program(in_a_sub_interpreter) as program:
        said = program.said()
        assert said.startswith("unsupported: the signal handler was refused: "), program.log()
        assert said.endswith(REMEDY)
        assert program.end() == 0


def test_a_refusal_leaves_everything_as_it_was(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next attempt is a new one."""

    def refuse(_number: int, _handler: object) -> None:
        raise ValueError("not here")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        probes = started()
    assert probes.sigterm == unsupported("the signal handler was refused: not here")
    assert told_once(caplog, "the signal handler was refused: not here")
    assert signal.getsignal(signal.SIGTERM) == server.handle
    probes.service.sigterm.arm()
    assert probes.sigterm == "armed"
    sigterm()
    assert server.once()
    end(probes)


def test_a_refusal_at_a_look_leaves_the_drain_where_it_stands(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a handler that passes the signal on it still drains."""
    probes = started()
    ours = signal.getsignal(signal.SIGTERM)
    assert callable(ours)
    signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))

    def refuse(_number: int, _handler: object) -> None:
        raise OSError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        probes.service.sigterm.check(time.monotonic())
    assert probes.sigterm == unsupported("the signal handler was refused: not now")
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    end(probes)


def test_a_signal_that_became_unreachable_is_told_once(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The application ignores it from some day on; probes come every second."""
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=30)
    probes.service.sigterm.arm()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(3):
        clock.now += 2
        probes.service.sigterm.check(clock.now)
    assert probes.sigterm == unsupported("SIGTERM is ignored by this process")
    assert told_once(caplog, "SIGTERM is ignored by this process")
    end(probes)
    assert server.signals == []


def test_a_signal_that_is_reachable_again_drains_again(server: StandIn) -> None:
    """The next look takes it over, and the state says so."""
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=0.1)
    probes.service.sigterm.arm()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    probes.service.sigterm.check(clock.now)
    assert probes.sigterm.startswith("unsupported: SIGTERM is ignored")
    signal.signal(signal.SIGTERM, server.handle)
    clock.now += 2
    probes.service.sigterm.check(clock.now)
    assert probes.sigterm == "armed"
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    end(probes)


def test_a_thread_that_nobody_prepared_for_cannot_have_the_signal(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Made and started in a thread, while the main one knows of nothing."""
    told: list[str] = []
    before = signal.signal(signal.SIGURG, signal.SIG_DFL)

    def application() -> None:
        told.append(started(0.1).sigterm)

    thread = threading.Thread(target=application)
    try:
        thread.start()
        thread.join(5)
    finally:
        signal.signal(signal.SIGURG, before)
    why = "the application does not run in the main thread"
    assert told == [unsupported(why)]
    assert told_once(caplog, why)
    assert signal.getsignal(signal.SIGTERM) == server.handle
    clean_up()
