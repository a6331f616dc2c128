"""Many signals at once, in the midst of each other, and the same application many times."""

from __future__ import annotations

import os
import signal
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle import relay
from probekit._lifecycle.relay import RELAY
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, at_call, clean_up, departing, end, sigterm, started, state

if TYPE_CHECKING:
    from types import FrameType

    from ._signals import StandIn


def test_a_storm_of_signals_is_one(server: StandIn) -> None:
    """A thousand from another thread, as fast as it can, while this one goes on."""
    probes = started(30)

    def strike() -> None:
        for _ in range(1000):
            os.kill(os.getpid(), signal.SIGTERM)

    storm = threading.Thread(target=strike)
    began = time.monotonic()
    storm.start()
    wait_until(lambda: not storm.is_alive(), "the storm is over", patience=5)
    if time.monotonic() - began > 0.9:
        pytest.skip("too slow a machine: what comes after a second is no duplicate")
    assert (state(probes), server.signals) == ([True], [])
    end(probes)


def test_after_a_storm_the_server_gets_one(server: StandIn) -> None:
    """As after any other signal."""
    probes = started(0.5)
    for _ in range(1000):
        sigterm()
        if server.signals:
            break
    assert server.once()
    end(probes)


def test_two_signals_within_a_millisecond_are_one(server: StandIn) -> None:
    """A supervisor's and the init system's."""
    probes = started(0.4)
    began = time.monotonic()
    sigterm()
    sigterm()
    assert server.arrived() - began >= 0.4
    assert server.once()
    end(probes)


def test_a_signal_amid_another_signals_handler_drains(server: StandIn) -> None:
    """Python runs one handler inside another."""
    probes = started()
    before = signal.getsignal(signal.SIGUSR1)

    def inside(_number: int, _frame: FrameType | None) -> None:
        sigterm()
        assert state(probes) == [True]

    signal.signal(signal.SIGUSR1, inside)
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert server.once()
    finally:
        signal.signal(signal.SIGUSR1, before)
    end(probes)


def test_a_hand_over_amid_another_signals_handler_reaches_the_server(server: StandIn) -> None:
    """It runs for as long as the drain."""
    probes = started()
    before = signal.getsignal(signal.SIGUSR1)

    def inside(_number: int, _frame: FrameType | None) -> None:
        sigterm()
        server.arrived()

    signal.signal(signal.SIGUSR1, inside)
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert server.once()
    finally:
        signal.signal(signal.SIGUSR1, before)
    end(probes)


@pytest.mark.parametrize("after", [False, True], ids=["at its start", "at its end"])
def test_a_signal_amid_the_handler_itself_is_the_same(after: bool, server: StandIn) -> None:
    """It interrupts itself where the drain begins."""
    probes = started()
    with at_call(RELAY._begin, sigterm, after=after):
        sigterm()
    assert state(probes) == [True]
    assert server.once()
    end(probes)


def test_two_hundred_lives_leave_no_thread_and_lose_no_signal(server: StandIn) -> None:
    """Each drains, and hands its signal on once."""
    before = set(departing())
    counts = []
    for _ in range(200):
        probes = started(1e-6)
        sigterm()
        wait_until(lambda: bool(server.signals), "the server has the signal", patience=2)
        end(probes)
        counts.append(len(server.signals))
        server.signals.clear()
    assert counts == [1] * 200
    assert server.signals == []
    assert signal.getsignal(signal.SIGTERM) == server.handle
    wait_until(lambda: set(departing()) <= before, "the threads have ended", patience=5)


def test_two_hundred_lives_without_a_signal_leave_no_thread(server: StandIn) -> None:
    """As where an application is tested, each time by a lifespan."""
    before = set(departing())
    for _ in range(200):
        end(started(30))
    assert signal.getsignal(signal.SIGTERM) == server.handle
    wait_until(lambda: set(departing()) <= before, "the threads have ended", patience=5)
    sigterm()
    assert len(server.signals) == 1


def test_a_refused_application_lets_the_others_be(server: StandIn) -> None:
    """One finds the signal out of reach when it was taken for another already."""
    before = len(departing())
    first = started(0.3)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    second = started(0.3)
    assert second.sigterm.startswith("unsupported: SIGTERM is ignored")
    assert len(departing()) == before + 1
    signal.signal(signal.SIGTERM, server.handle)
    end(second)
    end(first)
    assert server.signals == []


def test_what_is_asked_of_a_process_that_waits_for_nothing_is_dropped() -> None:
    """There is no thread, and nobody who could have asked."""
    clean_up()
    RELAY.do(lambda: pytest.fail("it was done"))
    before = departing()
    RELAY.dismiss()
    assert departing() == before


def test_without_its_thread_it_still_turns_and_a_second_signal_passes(server: StandIn) -> None:
    """Nobody times the drain then, but whoever insists is heard."""
    probes = make_probes(drain_delay=0.05)
    assert not isinstance(RELAY.join(probes.service.sigterm), str)
    sigterm()
    assert (state(probes), server.signals) == ([True], [])
    time.sleep(0.1)
    sigterm()
    assert len(server.signals) == 1
    end(probes)


def test_where_no_process_forks_it_does_without_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where the module must still load."""
    monkeypatch.delattr(os, "register_at_fork")
    spec = spec_from_file_location("probekit._lifecycle.relay_of_windows", relay.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.RELAY is not RELAY


# -- moments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_signal_amid_the_arming_is_not_lost(after: bool, server: StandIn) -> None:
    """It comes just when the handler is put in place; it may be the server's or the drain's."""
    with at_call(signal.signal, sigterm, after=after):
        probes = started()
    assert server.once()
    assert state(probes) == [after]
    end(probes)


@pytest.mark.parametrize("moment", ["its start", "its end"])
def test_a_signal_amid_the_end_is_not_lost(moment: str, server: StandIn) -> None:
    """It may be the server's at once, since the application has ended; and it raises nothing."""
    probes = started()
    at = RELAY.leave if moment == "its start" else RELAY.dismiss
    with at_call(at, sigterm):
        end(probes)
    assert len(server.signals) == (0 if moment == "its start" else 1)
    assert signal.getsignal(signal.SIGTERM) == server.handle


def test_a_signal_while_the_handler_is_put_back_is_the_servers(server: StandIn) -> None:
    """Once, whether the library's handler gets it or the server's does."""
    for after in (False, True):
        probes = started(DELAY)
        with at_call(signal.signal, sigterm, after=after):
            end(probes)
        assert len(server.signals) == 1
        server.signals.clear()
        assert signal.getsignal(signal.SIGTERM) == server.handle
