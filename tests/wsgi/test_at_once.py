"""Liveness without a way through the loop of the checks, where nothing must be run for it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Observer, Probe, Probes, Unhealthy
from probekit._core.portal import PORTAL
from probekit.wsgi import ProbeMiddleware
from tests.fake_time import FakeClock

from ._asking import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.7"}


class Listener(Observer):
    """Notes every answer, and which thread gave it."""

    def __init__(self) -> None:
        self.heard: list[tuple[Probe, int, int]] = []

    def on_answer(self, probe: Probe, code: int) -> None:
        """Note it."""
        self.heard.append((probe, code, threading.get_ident()))


def make(**options: Any) -> tuple[ProbeMiddleware, Probes, Listener]:
    """Return an application behind the probes, which a prober has asked once, and its listener."""
    probes, listener = Probes(drain_delay=0), Listener()
    probes.observe(listener)
    app = ProbeMiddleware(lambda *_: [], probes=probes, **options)
    ask(app, "/healthz", **HERE)
    return app, probes, listener


def here(listener: Listener) -> bool:
    """Whether the last answer came from this thread."""
    return listener.heard[-1][2] == threading.get_ident()


@contextmanager
def blocked() -> Iterator[None]:
    """Block the loop of the checks meanwhile, as no check should."""
    blocking, release = threading.Event(), threading.Event()

    async def block() -> None:
        blocking.set()
        while not release.is_set():  # to wait would be caught, as it should be
            pass

    blocker = threading.Thread(target=lambda: PORTAL.run(block))
    blocker.start()
    try:
        assert blocking.wait(10)
        yield
    finally:
        release.set()
        blocker.join()


def test_liveness_needs_no_loop() -> None:
    """A process whose checks block their loop is alive, and says so in time."""
    app, _, listener = make()
    with blocked():
        assert ask(app, "/healthz", **HERE).status == 200
        assert here(listener)


def test_the_first_answer_is_the_loops_and_the_next_is_not() -> None:
    """The observers hear of the status on the loop, and of each answer where it is given."""
    app, probes, listener = make()
    assert not here(listener)
    for _ in range(2):
        answer = ask(app, "/healthz", **HERE)
        assert (answer.status, answer.json()["status"]) == (200, "healthy")
        assert here(listener)
        probes.service.engine.version += 1  # something has happened, and the bytes are made anew
    assert [code for _, code, _ in listener.heard] == [200] * 3


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/readyz", {}),
        ("/startupz", {}),
        ("/healthz/unknown", {}),
        ("/healthz", {"QUERY_STRING": "verbose"}),
        ("/healthz", {"HTTP_ACCEPT": "text/plain"}),
        ("/healthz", {"REQUEST_METHOD": "POST"}),
    ],
)
def test_all_else_goes_through_the_loop(path: str, more: dict[str, Any]) -> None:
    """Only what any prober asks for is answered from what is known."""
    app, _, listener = make()
    before = len(listener.heard)
    ask(app, path, **(HERE | more))
    assert len(listener.heard) == before or not here(listener)


def test_whoever_may_not_ask_is_told_nothing() -> None:
    """The list of those who may ask holds here, too."""
    app, _, listener = make(allow=["10.0.0.0/8"])
    assert ask(app, "/healthz", **HERE).status == 200
    assert here(listener)
    assert ask(app, "/healthz", REMOTE_ADDR="192.0.2.7").status == 404


def test_a_check_of_liveness_is_run_when_it_is_due() -> None:
    """A fresh result is given at once, another one waits for its run, and so does a change."""
    clock = FakeClock()
    probes, listener, faults = Probes(drain_delay=0, clock=clock), Listener(), [""]
    probes.observe(listener)
    app = ProbeMiddleware(lambda *_: [], probes=probes)

    @probes.liveness(max_age=1.0)
    async def inside() -> None:
        if faults[-1]:
            raise Unhealthy(faults[-1])

    assert ask(app, "/healthz").status == 200
    clock.advance(0.5)
    assert ask(app, "/healthz").status == 200
    assert here(listener)
    faults.append("broken")
    clock.advance(1.0)
    assert ask(app, "/healthz").status == 503
    assert not here(listener)
    clock.advance(0.5)
    assert ask(app, "/healthz").status == 503
    assert here(listener)


def test_a_change_is_told_on_the_loop() -> None:
    """A result that came by another way is news to the observers first."""
    clock = FakeClock()
    probes, listener, faults = Probes(drain_delay=0, clock=clock), Listener(), [""]
    probes.observe(listener)
    app = ProbeMiddleware(lambda *_: [], probes=probes)

    @probes.liveness(max_age=10)
    async def inside() -> None:
        if faults[-1]:
            raise Unhealthy(faults[-1])

    assert ask(app, "/healthz").status == 200
    faults.append("broken")
    clock.advance(20)
    PORTAL.run(lambda: probes.report(Probe.LIVENESS, only="inside"))
    assert (ask(app, "/healthz").status, here(listener)) == (503, False)
    clock.advance(1)
    assert (ask(app, "/healthz").status, here(listener)) == (503, True)
