"""Where another library has a handler for SIGTERM of its own, below the library's or above it."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until
from tests.web._asking import HeldClock, make_probes

from ._signals import DELAY, at_call, end, sigterm, started, state

if TYPE_CHECKING:
    from ._signals import StandIn


class Library:
    """Another one that takes SIGTERM: counts what reaches it.

    Attributes:
        signals: When each came (monotonic seconds).
    """

    def __init__(self, *, passes_on: bool) -> None:
        self.signals: list[float] = []
        self._passes_on = passes_on
        self._below: Any = None

    def install(self) -> None:
        """Put its handler above whatever there is."""
        self._below = signal.signal(signal.SIGTERM, self.handle)

    def uninstall(self) -> None:
        """Put back what it found."""
        signal.signal(signal.SIGTERM, self._below)

    def handle(self, number: int, frame: object) -> None:
        """Take a signal."""
        self.signals.append(time.monotonic())
        if self._passes_on:
            self._below(number, frame)


PASSES_ON = pytest.mark.parametrize("passes_on", [True, False], ids=["passes on", "keeps"])


@PASSES_ON
def test_a_library_that_was_there_before_gets_the_signal_after_the_drain(
    passes_on: bool, server: StandIn
) -> None:
    """Once, and it does with it what it always did."""
    library = Library(passes_on=passes_on)
    library.install()
    probes = started()
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert library.signals == []
    wait_until(lambda: bool(library.signals), "the library has the signal", patience=2)
    assert library.signals[0] - began >= DELAY
    time.sleep(2 * DELAY)
    assert (len(library.signals), len(server.signals)) == (1, int(passes_on))
    assert signal.getsignal(signal.SIGTERM) == library.handle
    end(probes)
    assert signal.getsignal(signal.SIGTERM) == library.handle


def test_a_library_that_came_later_and_passes_the_signal_on_hears_of_it_at_once(
    server: StandIn,
) -> None:
    """It stands above, so nobody can keep it waiting; the server is kept waiting all the same."""
    probes = started()
    library = Library(passes_on=True)
    library.install()
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert len(library.signals) == 1
    assert server.arrived() - began >= DELAY
    assert server.once()
    assert signal.getsignal(signal.SIGTERM) == library.handle
    end(probes)


@pytest.mark.xfail(
    strict=True, reason="a known limit: whoever stands above sees the signal that is sent again"
)
def test_a_library_that_came_later_is_not_called_again_at_the_hand_over(server: StandIn) -> None:
    """One signal came, and it was told of it."""
    probes = started()
    library = Library(passes_on=True)
    library.install()
    sigterm()
    assert server.once()
    end(probes)
    assert len(library.signals) == 1


def test_a_library_that_came_later_and_keeps_the_signal_has_it(server: StandIn) -> None:
    """As long as nobody has looked, the process ends as if the library were alone."""
    probes = started()
    library = Library(passes_on=False)
    library.install()
    sigterm()
    time.sleep(2 * DELAY)
    assert (len(library.signals), server.signals, state(probes)) == (1, [], [False])
    end(probes)
    assert signal.getsignal(signal.SIGTERM) == library.handle


@PASSES_ON
def test_a_look_at_a_readiness_probe_puts_the_drain_first_again(
    passes_on: bool, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The library is remembered, and gets the signal once, after the drain; the log says so."""
    caplog.set_level(logging.INFO, "probekit")
    probes = started()
    library = Library(passes_on=passes_on)
    library.install()
    probes.service.sigterm.check(time.monotonic())
    assert caplog.text.count("on SIGTERM: drain for") == 2
    assert "hand it to the handler tests.lifecycle.test_below_handler.Library.handle" in caplog.text
    assert probes.sigterm == "armed"
    began = time.monotonic()
    sigterm()
    assert (state(probes), library.signals) == ([True], [])
    wait_until(lambda: bool(library.signals), "the library has the signal", patience=2)
    assert library.signals[0] - began >= DELAY
    time.sleep(2 * DELAY)
    assert (len(library.signals), len(server.signals)) == (1, int(passes_on))
    assert signal.getsignal(signal.SIGTERM) == library.handle
    end(probes)


@PASSES_ON
def test_the_end_puts_back_the_library_that_came_later(passes_on: bool, server: StandIn) -> None:
    """Once ours has gone from above it, the signal goes the way that it would have gone."""
    probes = started()
    library = Library(passes_on=passes_on)
    library.install()
    probes.service.sigterm.check(time.monotonic())
    end(probes)
    assert signal.getsignal(signal.SIGTERM) == library.handle
    sigterm()
    assert (len(library.signals), len(server.signals)) == (1, int(passes_on))
    assert state(probes) == [False]


def test_it_looks_once_a_second_and_changes_nothing_where_nothing_has_changed(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """A prober that asks a hundred times a second costs nothing, and the log stays quiet."""
    caplog.set_level(logging.INFO, "probekit")
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=DELAY)
    sigterm_of_it = probes.service.sigterm
    sigterm_of_it.check(clock.now)  # not even armed
    sigterm_of_it.arm()
    ours = signal.getsignal(signal.SIGTERM)
    clock.now += 10
    sigterm_of_it.check(clock.now)
    assert signal.getsignal(signal.SIGTERM) is ours
    library = Library(passes_on=True)
    library.install()
    clock.now += 0.9
    sigterm_of_it.check(clock.now)
    assert signal.getsignal(signal.SIGTERM) == library.handle
    clock.now += 0.2
    sigterm_of_it.check(clock.now)
    assert signal.getsignal(signal.SIGTERM) not in {ours, library.handle}
    assert caplog.text.count("on SIGTERM") == 2
    end(probes)
    assert server.signals == []


def test_it_does_not_go_above_anybody_any_more_when_the_signal_has_come(server: StandIn) -> None:
    """Whoever puts a handler in place during the drain will know why."""
    probes = started()
    sigterm()
    library = Library(passes_on=True)
    library.install()
    probes.service.sigterm.check(time.monotonic())
    assert signal.getsignal(signal.SIGTERM) == library.handle
    assert server.once()
    assert len(library.signals) == 1
    end(probes)


def test_a_library_that_goes_again_before_the_signal_leaves_the_drain_as_it_was(
    server: StandIn,
) -> None:
    """It puts back what it had found, which is the library's, and that drains."""
    probes = started()
    library = Library(passes_on=True)
    library.install()
    library.uninstall()
    began = time.monotonic()
    sigterm()
    assert state(probes) == [True]
    assert server.arrived() - began >= DELAY
    assert server.once()
    assert library.signals == []
    end(probes)


def test_a_library_that_goes_again_after_a_look_leaves_the_drain_as_it_was(
    server: StandIn,
) -> None:
    """What it puts back is not the newest handler of the library's, but the signal still drains."""
    probes = started()
    library = Library(passes_on=True)
    library.install()
    probes.service.sigterm.check(time.monotonic())
    library.uninstall()
    sigterm()
    assert state(probes) == [True]
    assert server.signals == []
    end(probes)


def test_a_look_after_a_library_has_gone_again_leaves_the_drain_as_it_was(server: StandIn) -> None:
    """Then the newest stands on top again, and everybody below it is called once."""
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=DELAY)
    probes.service.sigterm.arm()
    library = Library(passes_on=True)
    library.install()
    probes.service.sigterm.check(clock.now)
    library.uninstall()
    clock.now += 1.1
    probes.service.sigterm.check(clock.now)
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    assert library.signals == []
    end(probes)


def test_three_libraries_between_three_looks_are_called_once_each(server: StandIn) -> None:
    """However high the pile is, the signal goes once through it from the top to the server."""
    clock = HeldClock()
    probes = make_probes(clock, drain_delay=DELAY)
    probes.service.sigterm.arm()
    libraries = [Library(passes_on=True) for _ in range(3)]
    for library in libraries:
        library.install()
        clock.now += 1.1
        probes.service.sigterm.check(clock.now)
    sigterm()
    assert state(probes) == [True]
    assert server.once()
    assert [len(library.signals) for library in libraries] == [1, 1, 1]
    end(probes)


def test_a_second_signal_goes_through_the_pile_at_once(server: StandIn) -> None:
    """Whoever insists is kept waiting by nobody, and nobody hears of it twice."""
    probes = started(30)
    library = Library(passes_on=True)
    library.install()
    probes.service.sigterm.check(time.monotonic())
    sigterm()
    time.sleep(1.1)
    sigterm()
    assert (len(library.signals), len(server.signals)) == (1, 1)
    end(probes)


def test_a_handler_that_raises_raises_where_it_always_did(server: StandIn) -> None:
    """Many a program ends itself by SystemExit from its handler."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(3)

    signal.signal(signal.SIGTERM, leave)
    probes = started()
    sigterm()
    with pytest.raises(SystemExit, match="3"):
        time.sleep(5)  # in the main thread, as it would
    assert signal.getsignal(signal.SIGTERM) is leave
    assert server.signals == []
    end(probes)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_amid_the_look_is_not_lost(when: str, server: StandIn) -> None:
    """It comes in the very moment at which the handlers are changed."""
    probes = started()
    library = Library(passes_on=True)
    library.install()
    with at_call(signal.signal, sigterm, after=when == "after"):
        probes.service.sigterm.check(time.monotonic())
    assert state(probes) == [True]
    assert server.once()
    end(probes)
