"""What `Probes` takes and refuses beside its times, and what may be asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from probekit import ConfigurationError, Probe, Probes
from probekit.observers import LoggingObserver

LINE = "name must be one line of 1 to 200 printable characters, got "


@pytest.mark.parametrize("name", [None, 5, b"shop", "", "a\nb", "\x1b[2J", "\ud800", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused(name: Any) -> None:
    """It stands in metrics and logs, and names what the workers share."""
    with pytest.raises(ConfigurationError) as caught:
        Probes(name=name)
    assert str(caught.value) == f"Probes: {LINE}{name!r}"


@pytest.mark.parametrize("name", ["shop", "a/b", "Bücher & Co.", " ", "x" * 200])
def test_any_other_name_is_taken(name: str) -> None:
    """What no file may be called is written in another way there."""
    assert Probes(name=name, observers=[]).name == name


@pytest.mark.parametrize("observers", [5, LoggingObserver()], ids=["number", "observer"])
def test_observers_that_are_no_list_are_refused(observers: Any) -> None:
    """One alone is the likeliest mistake, and the text says what to do about it."""
    with pytest.raises(ConfigurationError) as caught:
        Probes(observers=observers)
    assert str(caught.value) == (
        f"Probes: observers must be a list of observers, got {observers!r}; put one alone into "
        f"a list, too"
    )


@pytest.mark.parametrize("clock", [1, 0, "now"])
def test_what_is_no_clock_is_refused(clock: Any) -> None:
    """At construction, and not by the first check that wants to know the time."""
    with pytest.raises(ConfigurationError) as caught:
        Probes(clock=clock)
    assert str(caught.value) == (
        f"Probes: clock must have the methods monotonic() and time(), got {clock!r}; leave it out "
        f"for that of the machine"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("probe", ["readyness", None, 5, []], ids=repr)
async def test_a_probe_that_there_is_not_is_refused(probe: Any) -> None:
    """Whoever asks for it gets the names of those that there are."""
    probes = Probes(observers=[])
    message = "^there is no probe .*; there are 'liveness', 'readiness' and 'startup'$"
    with pytest.raises(ConfigurationError, match=message):
        await probes.report(probe)
    for ask in (probes.peek, probes.checks):
        with pytest.raises(ConfigurationError, match=message):
            ask(probe)


@pytest.mark.anyio
async def test_a_probe_may_be_named_by_its_value() -> None:
    """A drain counts then, too."""
    probes: Any = Probes(observers=[])
    probes.drain(reason="deploy")
    for report in (await probes.report("readiness"), probes.peek("readiness")):
        assert report.probe is Probe.READINESS
        assert not report.passing
    assert probes.checks("startup") == ()
