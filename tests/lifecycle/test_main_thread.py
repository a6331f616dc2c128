"""What only the main thread may do, asked of it by another: while it sleeps, waits, or computes."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle import main_thread
from probekit._lifecycle.relay import RELAY
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import (
    DELAY,
    REMEDY,
    Program,
    departing,
    end,
    restarts,
    say,
    sigterm,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Probes

    from ._signals import StandIn


@pytest.fixture(autouse=True)
def unused() -> Iterator[None]:
    """Let nobody use SIGURG at first, and put back what the tests before had there."""
    before = signal.signal(signal.SIGURG, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGURG, before)


def in_thread(function: Callable[[], object]) -> None:
    """Run a function in another thread, to its end."""
    thread = threading.Thread(target=function)
    thread.start()
    wait_until(lambda: not thread.is_alive(), "the thread has ended", patience=5)


def is_armed(probes: Probes) -> bool:
    """Wait until the application stands by."""
    wait_until(lambda: probes.sigterm == "armed", "it stands by", patience=2)
    return True


def test_it_is_done_in_the_main_thread() -> None:
    """As soon as that comes round to it, and once."""
    main_thread.prepare()
    done: list[threading.Thread] = []
    answers: list[bool] = []
    in_thread(
        lambda: answers.append(main_thread.ask(lambda: done.append(threading.current_thread())))
    )
    wait_until(lambda: bool(done), "it is done")
    assert (answers, done) == ([True], [threading.main_thread()])
    signal.raise_signal(signal.SIGURG)
    assert len(done) == 1


def test_many_at_once_are_all_done() -> None:
    """However few signals they come to."""
    main_thread.prepare()
    done: list[int] = []

    def ask(number: int) -> None:
        for _ in range(50):
            main_thread.ask(lambda: done.append(number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) == 200, "all are done", patience=5)
    for thread in threads:
        thread.join(5)
    assert len(done) == 200


def test_without_preparation_there_is_no_way() -> None:
    """And nothing is sent."""
    answers: list[bool] = []
    in_thread(lambda: answers.append(main_thread.ask(lambda: None)))
    assert answers == [False]


def test_only_the_main_thread_prepares_it() -> None:
    """Another one could not."""
    in_thread(main_thread.prepare)
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_where_there_is_no_such_signal_there_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(signal, "SIGURG")
    main_thread.prepare()
    assert main_thread.ask(lambda: None) is False


def test_an_interpreter_that_may_not_handle_signals_does_not_prepare_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not the process's first."""

    def refuse(_number: int, _handler: object) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        main_thread.prepare()
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_who_has_no_delay_needs_none_of_it() -> None:
    """On a laptop nothing is touched."""
    make_probes(drain_delay=0)
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_it_interrupts_a_main_thread_that_waits() -> None:
    """With a system call that goes on the errand would wait as long as that."""
    make_probes(drain_delay=DELAY)
    assert signal.getsignal(signal.SIGURG) is not signal.SIG_DFL
    assert not restarts(signal.SIGURG)


def test_a_signal_that_somebody_uses_is_left_to_him(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The state says that SIGTERM is out of reach, and the log says so once."""
    urgent: list[int] = []
    theirs = lambda number, _frame: urgent.append(number)  # noqa: E731 - to be compared
    signal.signal(signal.SIGURG, theirs)
    probes = make_probes(drain_delay=DELAY)
    assert signal.getsignal(signal.SIGURG) is theirs
    before = len(departing())
    in_thread(probes.service.sigterm.arm)
    why = f"unsupported: the application does not run in the main thread; {REMEDY}"
    assert probes.sigterm == why
    assert caplog.text.count(f"SIGTERM will not drain first: {why}") == 1
    assert (urgent, signal.getsignal(signal.SIGTERM)) == ([], server.handle)
    wait_until(lambda: len(departing()) <= before, "the thread has ended", patience=2)


# -- what it is for -----------------------------------------------------------------------------


def test_an_application_in_another_thread_drains(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """It is armed in the main thread; the plan is logged from yet another."""
    caplog.set_level(logging.INFO, "probekit")
    probes = make_probes(drain_delay=DELAY)
    in_thread(probes.service.sigterm.arm)
    assert is_armed(probes)
    assert "on SIGTERM: drain for" in caplog.text
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert server.arrived() - began >= DELAY
    assert server.once()
    in_thread(probes.service.sigterm.disarm)


def test_until_the_main_thread_has_come_round_to_it_the_state_says_so(server: StandIn) -> None:
    """It may be busy in C for a while."""
    probes = make_probes(drain_delay=DELAY)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        in_thread(probes.service.sigterm.arm)
        assert probes.sigterm == "not armed: the main thread has not come round to it"
        assert signal.getsignal(signal.SIGTERM) == server.handle
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
    assert is_armed(probes)
    end(probes)


def test_an_application_that_ended_before_the_main_thread_came_round_to_it_is_not_armed(
    server: StandIn,
) -> None:
    """Nobody would ever take it off again."""
    probes = make_probes(drain_delay=DELAY)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        in_thread(probes.service.sigterm.arm)
        in_thread(probes.service.sigterm.disarm)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGTERM) == server.handle


def test_what_makes_the_signal_unreachable_is_told_from_another_thread(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The main thread found it out, in a signal handler, which must not log."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before = len(departing())
    probes = make_probes(drain_delay=DELAY)
    in_thread(probes.service.sigterm.arm)
    why = f"unsupported: SIGTERM is ignored by this process; {REMEDY}"
    wait_until(lambda: probes.sigterm == why, "the state says so", patience=2)
    wait_until(lambda: len(departing()) <= before, "the thread has ended", patience=2)
    assert caplog.text.count(why) == 1
    assert server.signals == []


def test_a_look_from_another_thread_puts_the_drain_first_again(server: StandIn) -> None:
    """The main thread is asked to."""
    probes = make_probes(drain_delay=DELAY)
    in_thread(probes.service.sigterm.arm)
    assert is_armed(probes)
    signal.signal(signal.SIGTERM, server.handle)
    in_thread(lambda: probes.service.sigterm.check(time.monotonic()))
    wait_until(
        lambda: signal.getsignal(signal.SIGTERM) != server.handle, "it stands first", patience=2
    )
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    end(probes)


def parked(_signum: int, _frame: object) -> None:
    """Handle SIGTERM in the name of granian, whose main thread waits without end."""


parked.__module__ = "granian._signals"


def test_a_main_thread_that_sleeps_through_the_signal_is_woken(server: StandIn) -> None:
    """Another thread may get it: then nothing ends the wait for a lock but the next look."""
    signal.signal(signal.SIGTERM, parked)
    probes = make_probes(drain_delay=DELAY)
    probes.service.sigterm.arm()
    drains: list[bool] = []
    over = threading.Event()

    def get_the_signal() -> None:
        time.sleep(0.3)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        RELAY.look_after()
        began = time.monotonic()
        while not drains and time.monotonic() < began + 5:
            drains.extend([True] if probes.draining else [])
        over.set()

    thread = threading.Thread(target=get_the_signal)
    thread.start()
    over.wait()
    thread.join()
    assert drains == [True]
    end(probes)
    assert server.signals == []


def test_a_signal_that_is_somebody_elses_wakes_nobody() -> None:
    """It would mean something to him."""
    urgent: list[int] = []
    signal.signal(signal.SIGURG, lambda number, _frame: urgent.append(number))
    main_thread.wake()
    assert urgent == []


def test_no_other_main_thread_is_woken(server: StandIn) -> None:
    """It may be amid a system call of the application's, which an interruption might fail."""
    calls: list[int] = []
    probes = make_probes(drain_delay=DELAY)
    probes.service.sigterm.arm()
    signal.signal(signal.SIGURG, lambda number, _frame: calls.append(number))
    in_thread(RELAY.look_after)
    end(probes)
    assert (calls, server.signals) == ([], [])


def test_the_application_of_another_thread_may_come_back(server: StandIn) -> None:
    """Its end cannot put the handler back; each life stands above the last and hands on."""
    probes = make_probes(drain_delay=DELAY)
    for _ in range(3):
        in_thread(probes.service.sigterm.arm)
        assert is_armed(probes)
        in_thread(probes.service.sigterm.disarm)
        assert probes.sigterm == "not armed: the lifespan has ended"
    in_thread(probes.service.sigterm.arm)
    assert is_armed(probes)
    began = time.monotonic()
    sigterm()
    assert server.arrived() - began >= DELAY
    assert server.once()
    end(probes)


def test_an_application_that_comes_back_knows_its_server_still(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """What is below names it, its limit, and whether it waits for what is in flight."""
    caplog.set_level(logging.INFO, "probekit")
    probes = make_probes(drain_delay=DELAY)
    for _ in range(2):
        caplog.clear()
        in_thread(probes.service.sigterm.arm)
        assert is_armed(probes)
        wait_until(lambda: "hand it to" in caplog.text, "it is logged", patience=2)
        in_thread(probes.service.sigterm.disarm)
    assert "hand it to the handler tests.lifecycle._signals.StandIn.handle" in caplog.text
    assert server.signals == []


# -- the handler is interrupted by itself -------------------------------------------------------


def interrupted(step: int) -> None:
    """Let a second errand come, and be done, amid the handler that does the first."""
    main_thread.prepare()
    done: list[str] = []
    steps = 0

    def profile(_frame: object, event: str, what: object) -> None:
        nonlocal steps
        if (
            event in {"c_return", "c_exception"}
            and getattr(what, "__self__", None) is main_thread._errands
        ):
            steps += 1
            if steps == step:
                main_thread._errands.put(lambda: done.append("second"))
                signal.raise_signal(signal.SIGURG)

    main_thread._errands.put(lambda: done.append("first"))
    sys.setprofile(profile)
    signal.raise_signal(signal.SIGURG)
    sys.setprofile(None)
    say(" ".join(sorted(done)))


@pytest.mark.parametrize("step", [1, 2])
def test_two_errands_at_the_same_time_do_not_stop_the_main_thread(step: int) -> None:
    """Two threads ask, and the second signal interrupts the handler of the first."""
    with Program(interrupted, step) as program:
        timer = threading.Timer(3, program.process.kill)
        timer.start()
        said = program.said()
        timer.cancel()
    assert said == "first second"
