"""The switch that takes a process out of service, and back."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from probekit import ConfigurationError, Drain, DrainIsFinalError, Observer
from probekit._lifecycle.drain import DrainSwitch
from probekit._lifecycle.pod.pod import Pod, Shared
from tests.web._asking import NOON, HeldClock, make_probes

if TYPE_CHECKING:
    from collections.abc import Callable


ALONE = Pod(name="app", environment={"PROBEKIT_SCOPE": "process"})
LINE = "must be one line of at most 200 printable characters"


class Heard(Observer):
    """Remembers what it was told of drains, and on which thread."""

    def __init__(self) -> None:
        self.drains: list[Drain | None] = []
        self.threads: list[int] = []

    def on_drain(self, drain: Drain | None) -> None:
        """Hear of a drain."""
        self.drains.append(drain)
        self.threads.append(threading.get_ident())


def test_a_drain_tells_why_who_and_since_when() -> None:
    """What was given comes back, with the moment."""
    probes = make_probes(HeldClock())
    drain = probes.drain(reason="deploy", by="anna", lease=60)
    assert drain == Drain(reason="deploy", by="anna", since=NOON, until=NOON + 60, final=False)
    seen = [probes.draining]
    probes.undrain()
    seen.append(probes.draining)
    assert seen == [drain, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reason": 5}, "drain: reason must be a string, got 5"),
        ({"by": None}, "drain: by must be a string, got None"),
        ({"reason": "x" * 201}, f"drain: reason {LINE}, got 201 characters: 'x{{200}}'$"),
        ({"by": "x" * 300}, f"drain: by {LINE}, got 300 characters: 'x{{200}}'$"),
        ({"reason": "a\nb"}, rf"drain: reason {LINE}, got '\\n' in 'a\\nb'$"),
        ({"by": "a\r"}, f"drain: by {LINE}"),
        ({"reason": "a\tb"}, f"drain: reason {LINE}"),
        ({"by": "\x00\n"}, rf"drain: by {LINE}, got '\\x00' in '\\x00\\n'$"),
        ({"reason": "\x1b[2J"}, f"drain: reason {LINE}"),
        ({"by": "a\u2028b"}, f"drain: by {LINE}"),
        ({"reason": "\u202etxt.exe"}, f"drain: reason {LINE}"),
        ({"by": "\ud800"}, f"drain: by {LINE}"),
        ({"lease": 0}, "drain: lease must be > 0 seconds, got 0; leave it out to drain until"),
        ({"lease": -1.5}, "drain: lease must be > 0 seconds"),
        ({"lease": float("nan")}, "drain: lease must be > 0 seconds"),
        (
            {"lease": float("inf")},
            "drain: lease must be at most 1e9 seconds, got inf; leave it out",
        ),
        ({"lease": "60"}, "drain: lease must be > 0 seconds, got '60';"),
        ({"lease": False}, "drain: lease must be > 0 seconds"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_senseless_argument_changes_nothing(options: dict[str, Any], message: str) -> None:
    """It is refused with its name and value, and whoever drains goes on draining."""
    probes = make_probes()
    before = probes.drain(reason="before")
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        probes.drain(**options)
    assert probes.draining is before


def test_a_lease_ends_by_itself_and_is_told_once() -> None:
    """Whoever looks first after the end notices it, and observers hear of it."""
    clock, heard = HeldClock(), Heard()
    probes = make_probes(clock, observers=[heard])
    drain = probes.drain(lease=10)
    clock.now += 9.99
    assert probes.draining is drain
    clock.now += 0.01
    assert [probes.draining, probes.draining] == [None, None]
    assert heard.drains == [drain, None]


def test_a_renewal_keeps_the_beginning_and_replaces_the_rest() -> None:
    """A lease can be prolonged, shortened and taken away."""
    clock = HeldClock()
    probes = make_probes(clock)
    probes.drain(reason="a", by="anna", lease=10)
    clock.now += 5
    assert probes.drain(reason="b", lease=100) == Drain(reason="b", since=NOON, until=NOON + 105)
    assert probes.drain(lease=1).until == NOON + 6
    assert probes.drain().until is None
    clock.now += 1e9
    assert probes.draining is not None


def test_what_sigterm_began_is_final() -> None:
    """Neither a lease, nor a renewal, nor an end changes it."""
    clock = HeldClock()
    probes = make_probes(clock)
    probes.drain(lease=10)
    clock.now += 3
    probes.service.drain.finish(reason="SIGTERM")
    final = probes.draining
    assert final == Drain(reason="SIGTERM", since=NOON, final=True)
    assert probes.drain(reason="later", lease=1) is final
    with pytest.raises(DrainIsFinalError, match="cannot be ended: SIGTERM began it"):
        probes.undrain()
    clock.now += 1000
    assert probes.draining is final


@pytest.mark.parametrize("by", ["anna", ""])
def test_what_the_fleet_began_is_ended_by_the_fleet(by: str) -> None:
    """The process's own drain ends, and whoever ended it is told what is in its place."""
    clock, heard = HeldClock(), Heard()
    probes = make_probes(clock, observers=[heard])
    switch = probes.service.drain
    theirs = Drain(reason="move", by=by, since=NOON)
    own = probes.drain(reason="deploy")
    switch.hear(Shared(theirs, clock.now + 60))
    assert (probes.draining, switch.fleet) == (own, theirs)
    for _ in range(2):
        with pytest.raises(DrainIsFinalError, match=f"{by or 'somebody'} drained the whole fleet"):
            probes.undrain()
    assert heard.drains == [own, theirs]
    clock.now += 61
    assert probes.draining is None
    assert heard.drains == [own, theirs, None]


def test_an_end_that_two_notice_is_told_of_once() -> None:
    """The second one comes to it while the first one is at it."""
    clock, heard = HeldClock(), Heard()
    probes = make_probes(clock, observers=[heard])
    drain = probes.drain(lease=10)
    clock.now += 11

    def another_looks() -> None:
        clock.disturbance = lambda: None
        assert probes.draining is None

    clock.disturbance = another_looks
    assert probes.draining is None
    assert heard.drains == [drain, None]


@pytest.mark.parametrize("leased", [False, True], ids=["without a drain", "in a lease"])
@pytest.mark.parametrize("reading", range(4))
@pytest.mark.parametrize("action", ["begin", "end", "look", "look too late"])
def test_a_signal_in_the_middle_of_a_change_is_not_lost(
    action: str, reading: int, leased: bool
) -> None:
    """SIGTERM may interrupt any change between two steps; its drain stands whatever comes next."""
    clock = HeldClock()
    probes = make_probes(clock)
    if leased:
        probes.drain(lease=10)
    if action == "look too late":
        clock.now += 11
    readings = 0

    def interrupt() -> None:
        nonlocal readings
        readings += 1
        if readings == reading + 1:
            clock.disturbance = lambda: None
            probes.service.drain.finish(reason="SIGTERM")

    clock.disturbance = interrupt
    actions: dict[str, Callable[[], object]] = {
        "begin": lambda: probes.drain(reason="operator", lease=1),
        "end": probes.undrain,
        "look": lambda: probes.draining,
        "look too late": lambda: probes.draining,
    }
    with suppress(DrainIsFinalError):
        actions[action]()
    if readings <= reading:  # there are fewer moments in this change
        probes.service.drain.finish(reason="SIGTERM")
    clock.now += 1000
    assert probes.draining is not None
    assert probes.draining.final


def test_a_drain_from_another_thread_is_seen_here() -> None:
    """Any thread may turn the switch; observers hear of it on that thread."""
    heard = Heard()
    probes = make_probes(observers=[heard])
    thread = threading.Thread(target=lambda: probes.drain(reason="elsewhere"))
    thread.start()
    thread.join(5)
    assert probes.draining is not None
    assert probes.draining.reason == "elsewhere"
    assert heard.threads == [thread.ident]
    thread = threading.Thread(target=probes.undrain)
    thread.start()
    thread.join(5)
    assert probes.draining is None


def test_an_end_is_noticed_once_by_many_threads() -> None:
    """However many threads look when a lease ends, observers hear of one end."""
    for _ in range(20):
        clock, heard = HeldClock(), Heard()
        probes = make_probes(clock, observers=[heard])
        probes.drain(lease=1)
        clock.now += 1
        start = threading.Barrier(4)

        def look() -> None:
            start.wait(5)  # noqa: B023 - the threads are joined below
            assert probes.draining is None  # noqa: B023

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert heard.drains[1:] == [None]


def test_an_end_that_another_thread_noticed_first_is_not_told_again() -> None:
    """A lease that is renewed while somebody finds it over goes on."""
    clock, told = HeldClock(), list[str]()
    switch = DrainSwitch(clock=clock, changed=lambda: told.append("a change"), pod=ALONE)
    switch.begin(lease=1)
    clock.now += 1

    def renew() -> None:
        clock.disturbance = lambda: None
        switch.begin(reason="renewed")

    clock.disturbance = renew
    state = switch.state
    assert state is not None
    assert state.reason == "renewed"
    assert len(told) == 3  # it began, its lease ended, it began again


def test_an_observer_that_fails_stops_neither_the_drain_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its failure is logged, and everybody else is told."""

    class Broken(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            raise RuntimeError("no")

    heard = Heard()
    probes = make_probes(observers=[Broken(), heard])
    drain = probes.drain()
    assert heard.drains == [drain]
    assert "RuntimeError: no" in caplog.text


class Switch(RuleBasedStateMachine):
    """The switch against a model of it in a dozen lines."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HeldClock()
        self.switch = DrainSwitch(clock=self.clock, changed=lambda: None, pod=ALONE)
        self.until: float | None = None
        self.final = False

    @rule(lease=st.none() | st.integers(1, 100))
    def begin(self, lease: int | None) -> None:
        """Begin or renew."""
        self.switch.begin(lease=lease)
        if not self.final:
            self.until = self.clock.now + (lease or 1e18)

    @precondition(lambda self: not self.final)
    @rule()
    def end(self) -> None:
        """End."""
        self.switch.end()
        self.until = None

    @precondition(lambda self: not self.final)
    @rule()
    def finish(self) -> None:
        """Get SIGTERM."""
        self.switch.finish(reason="SIGTERM")
        self.final = True

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.now += seconds

    @invariant()
    def it_drains_exactly_when_it_should(self) -> None:
        """The switch and the model agree."""
        expected = self.final or (self.until is not None and self.clock.now < self.until)
        state = self.switch.state
        assert (state is not None) == expected
        assert state is None or state.final == self.final


TestSwitch = Switch.TestCase
TestSwitch.settings = settings(deadline=None, max_examples=50)
