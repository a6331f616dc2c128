"""SIGTERM in this process: who gets it, when, and what stands against it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from probekit import Observer
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, StandIn, sigterm, started

if TYPE_CHECKING:
    from probekit import Drain


def test_the_signal_drains_at_once_and_reaches_the_server_after_the_delay(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """In between everything is served; the plan and both steps are logged."""
    caplog.set_level(logging.INFO, "probekit")
    heard: list[Drain | None] = []

    class Notes(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            heard.append(drain)

    probes = started(DELAY, Notes())
    assert probes.sigterm == "armed"
    assert f"on SIGTERM: drain for {DELAY} s (argument drain_delay)" in caplog.text
    began = time.monotonic()
    sigterm()
    assert probes.draining is not None
    assert (probes.draining.reason, probes.draining.final) == ("SIGTERM", True)
    assert server.signals == []
    wait_until(lambda: bool(server.signals), "the server has the signal")
    assert DELAY <= server.signals[0] - began < DELAY + 1
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert heard == [probes.draining]
    assert "SIGTERM: draining; readiness answers 503" in caplog.text
    assert (
        "handing the signal to the handler tests.lifecycle._signals.StandIn.handle" in caplog.text
    )
    probes.service.sigterm.disarm()


def test_a_second_signal_passes_at_once(server: StandIn) -> None:
    """Whoever insists is not kept waiting, and the first signal does not come on top."""
    probes = started(1.5)
    sigterm()
    time.sleep(1.1)
    sigterm()
    assert len(server.signals) == 1
    time.sleep(0.6)
    assert len(server.signals) == 1
    probes.service.sigterm.disarm()


def test_a_duplicate_within_a_second_is_the_same_signal(server: StandIn) -> None:
    """A supervisor and systemd both send one: that is no impatience."""
    probes = started(30)
    for _ in range(5):
        sigterm()
    assert server.signals == []
    assert probes.draining is not None
    probes.service.sigterm.disarm()
    sigterm()
    assert len(server.signals) == 1


def test_an_application_that_ends_before_the_delay_leaves_no_signal_behind(server: StandIn) -> None:
    """After the shutdown the delay's end sends nothing, to nobody."""
    probes = started(DELAY)
    sigterm()
    probes.service.sigterm.disarm()
    assert signal.getsignal(signal.SIGTERM) == server.handle
    assert probes.sigterm == "came: the process is leaving"
    time.sleep(DELAY + 0.1)
    assert server.signals == []


def test_an_application_that_was_never_told_to_go_leaves_no_trace(server: StandIn) -> None:
    """The handler and the thread go with the application, however often it comes back."""
    before = threading.active_count()
    probes = make_probes(drain_delay=DELAY)
    for _ in range(3):
        probes.service.sigterm.arm()
        probes.service.sigterm.arm()  # once is enough
        assert threading.active_count() == before + 1
        probes.service.sigterm.disarm()
        probes.service.sigterm.disarm()
        wait_until(lambda: threading.active_count() == before, "the thread has ended")
        assert signal.getsignal(signal.SIGTERM) == server.handle
    sigterm()
    assert len(server.signals) == 1
    assert probes.draining is None


@pytest.mark.usefixtures("server")
def test_a_handler_put_above_it_stays() -> None:
    """What the application installs after the start is not taken away at the end."""
    probes = started()

    def application(_number: int, _frame: object) -> None:
        pass

    signal.signal(signal.SIGTERM, application)
    probes.service.sigterm.disarm()
    assert signal.getsignal(signal.SIGTERM) is application


def test_without_a_delay_nothing_is_touched(server: StandIn) -> None:
    """On a laptop the server keeps its signal, and the state says why."""
    probes = started(0)
    assert probes.sigterm == "off: drain_delay is 0 (argument drain_delay)"
    assert signal.getsignal(signal.SIGTERM) == server.handle


def test_another_thread_has_the_handler_put_back(server: StandIn) -> None:
    """It may not do so itself, and asks the main thread to."""
    probes = started()
    thread = threading.Thread(target=probes.service.sigterm.disarm)
    thread.start()
    thread.join(5)
    assert probes.sigterm == "not armed: the lifespan has ended"
    wait_until(lambda: signal.getsignal(signal.SIGTERM) == server.handle, "it is put back")
