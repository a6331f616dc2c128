"""SIGTERM in this process: who gets it, when, and what stands against it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from probekit import Observer
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, StandIn, sigterm, started

if TYPE_CHECKING:
    from collections.abc import Callable

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
    assert "handing the signal to the server" in caplog.text
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


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
@pytest.mark.usefixtures("server")
def test_without_a_server_there_is_nobody_to_hand_it_to(handler: signal.Handlers) -> None:
    """A process without a handler dies of SIGTERM as before, and the state says so."""
    signal.signal(signal.SIGTERM, handler)
    probes = started()
    assert probes.sigterm == "unsupported: the server has no SIGTERM handler to hand the signal to"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_in_another_thread_the_signal_cannot_be_had(server: StandIn) -> None:
    """Only the main thread may handle signals; the state says so and nothing fails."""
    probes = make_probes(drain_delay=DELAY)
    thread = threading.Thread(target=probes.service.sigterm.arm)
    thread.start()
    thread.join(5)
    assert probes.sigterm == "unsupported: the application does not run in the main thread"
    assert signal.getsignal(signal.SIGTERM) == server.handle


def test_another_thread_cannot_put_the_handler_back(server: StandIn) -> None:
    """It says that the application has stopped, and raises nothing."""
    probes = started()
    thread = threading.Thread(target=probes.service.sigterm.disarm)
    thread.start()
    thread.join(5)
    assert probes.sigterm == "not armed: the lifespan has ended"
    assert signal.getsignal(signal.SIGTERM) != server.handle


FACTORIES = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_loop_that_owns_the_signal_keeps_it(
    factory: Callable[[], asyncio.AbstractEventLoop],
    server: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that asked the event loop for SIGTERM gets it, and state and log say what to do."""
    got: list[bool] = []
    obstacle = "unsupported: the event loop owns SIGTERM; call probes.drain() before it comes"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, got.append, True)
        handler = signal.getsignal(signal.SIGTERM)
        probes = make_probes(drain_delay=DELAY)
        async with probes.lifespan():
            assert probes.sigterm == obstacle
            assert signal.getsignal(signal.SIGTERM) == handler
            sigterm()
            await asyncio.sleep(0.05)
            assert probes.draining is None
        assert signal.getsignal(signal.SIGTERM) == handler
        loop.remove_signal_handler(signal.SIGTERM)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert got == [True]
    assert server.signals == []
    assert f"SIGTERM will not drain first: {obstacle}" in caplog.text


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_loop_that_owns_other_signals_is_no_obstacle(
    factory: Callable[[], asyncio.AbstractEventLoop], server: StandIn
) -> None:
    """Signals beside SIGTERM do not matter, nor does one that was asked for and given up."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.add_signal_handler(signal.SIGTERM, int)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, server.handle)
        probes = make_probes(drain_delay=DELAY)
        async with probes.lifespan():
            assert probes.sigterm == "armed"
        loop.remove_signal_handler(signal.SIGUSR1)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
