"""Jobs and workers' loops between SIGTERM and the end: waited for, given back, told of."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import uvicorn

from probekit import DrainStep
from tests.doors._apps import hello
from tests.waiting import until, wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, StandIn, Twisted, sigterm
from .test_departure import lines, reached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probekit import Probes


@pytest.fixture
def unfinished() -> Iterator[ExitStack]:
    """Hold blocks open that the process does not wait for."""
    with ExitStack() as stack:
        yield stack


def armed(linger: float) -> Probes:
    """Return Probes that serve without a lifespan, as WSGI does."""
    probes = make_probes(drain_delay=DELAY, linger=linger)
    probes.service.sigterm.arm()
    return probes


def test_a_server_gets_the_signal_when_the_jobs_are_done_that_it_does_not_know(
    server: StandIn, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a lifespan nobody would wait for them; requests are the server's own affair."""
    probes = armed(20)
    probes.service.traffic.requests["slow"] = {"method": "GET", "path": "/slow"}, 0.0
    unfinished.enter_context(probes.work("a"))
    sigterm()
    wait_until(lambda: bool(lines(caplog, "knows of no jobs")), "it lingers")
    assert "so those in flight are done first, within 20 s; after 0." in lines(caplog, "knows")[0]
    time.sleep(DELAY)
    assert server.signals == []
    unfinished.close()
    server.arrived()
    probes.service.traffic.requests.clear()
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    probes.service.sigterm.disarm()
    assert lines(caplog, "abandoned after") == []


def test_jobs_that_outlast_linger_are_given_back_before_the_signal_goes_on(
    server: StandIn, unfinished: ExitStack
) -> None:
    """Those of the applications that nobody else attends to."""
    probes = armed(DELAY)
    back: list[tuple[str, int]] = []
    unfinished.enter_context(
        probes.work("a", on_abandon=lambda job: back.append((job, len(server.signals))))
    )
    sigterm()
    server.arrived(10)
    assert back == [("a", 0)]
    probes.service.sigterm.disarm()


@pytest.mark.anyio
async def test_the_jobs_of_a_lifespan_hold_no_signal_back(
    server: StandIn, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end waits for them, after the server has finished its requests; that is within linger."""
    probes = make_probes(drain_delay=DELAY, linger=1.0)
    back: list[str] = []
    async with probes.lifespan():
        unfinished.enter_context(probes.work("a", on_abandon=back.append))
        sigterm()
        await until(lambda: bool(server.signals))
        assert back == []
        began = time.monotonic()
    assert back == ["a"]
    assert 0.3 < time.monotonic() - began < 10
    assert not lines(caplog, "knows of no jobs")


def test_a_server_cuts_no_job(
    server: StandIn, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Its limit is for connections, so the log claims no end of what it does not know."""
    real = uvicorn.Server(uvicorn.Config(hello, timeout_graceful_shutdown=0))
    signal.signal(signal.SIGTERM, real.handle_exit)
    probes = armed(20)
    probes.service.jobs.attended = True
    unfinished.enter_context(probes.work("a"))
    sigterm()
    wait_until(lambda: bool(lines(caplog, "still in flight")), "it is named")
    assert ": job a for 0." in lines(caplog, "still in flight")[0]
    assert "cuts it" not in lines(caplog, "still in flight")[0]
    unfinished.close()
    wait_until(lambda: reached(probes, DrainStep.DONE), "done")
    probes.service.sigterm.disarm()
    signal.signal(signal.SIGTERM, server.handle)


def test_a_loop_is_waited_for_and_called_what_it_is(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker between two jobs has nothing in flight, and has yet to see that it drains."""
    probes = armed(20)
    probes.service.traffic.blocks["loop"] = {}, 0.0
    sigterm()
    wait_until(lambda: bool(lines(caplog, "waiting for the worker")), "it lingers")
    [line] = lines(caplog, "waiting for the worker")
    assert "drained; waiting for the worker to leave its loop, within 20 s; after 0." in line
    assert line.endswith("in flight: the worker's loop")
    assert hasty.signals == []
    probes.service.traffic.blocks.clear()
    hasty.arrived(10)
    assert lines(caplog, "handing")[0].endswith("in flight: nothing")
    probes.service.sigterm.disarm()


def test_a_loop_that_is_never_left_ends_with_the_time(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named; and an application that ends inside of it has nothing in flight."""
    probes = armed(DELAY)
    probes.service.traffic.blocks["loop"] = {}, 0.0
    sigterm()
    hasty.arrived(10)
    assert lines(caplog, "handing")[0].endswith("in flight: the worker's loop")
    probes.service.sigterm.disarm()
    assert lines(caplog, "ends with this in flight") == []


def test_a_second_signal_ends_the_giving_back(
    hasty: Twisted, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """It passes at once, and nobody is said to have had his time."""
    caplog.set_level(logging.INFO, "probekit")
    probes = armed(0)
    release = threading.Event()
    unfinished.callback(release.set)
    unfinished.enter_context(probes.work("a", on_abandon=lambda _: release.wait(20)))
    sigterm()
    wait_until(lambda: bool(lines(caplog, "abandoned after")), "it gives back")
    sigterm()
    assert hasty.signals == []  # so soon it is the same one
    time.sleep(1.1)
    sigterm()
    assert len(hasty.signals) == 1
    wait_until(lambda: bool(lines(caplog, "a second signal")), "it is told of")
    probes.service.sigterm.disarm()
    assert lines(caplog, "has not come back") == []


def test_an_application_that_ends_while_it_lingers_hands_nothing_over(
    hasty: Twisted, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does the log claim it."""
    probes = armed(20)
    unfinished.enter_context(probes.work("a"))
    sigterm()
    wait_until(lambda: bool(lines(caplog, "waits for nothing")), "it lingers")
    probes.service.sigterm.disarm()
    wait_until(lambda: bool(lines(caplog, "ends with this in flight: job a")), "it is named")
    assert lines(caplog, "handing") == []
    assert hasty.signals == []


def test_an_application_that_ends_while_it_gives_back_hands_nothing_over(
    hasty: Twisted, unfinished: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """It has waited for it by itself, and goes on to its own end."""
    probes = armed(0)
    release = threading.Event()
    unfinished.callback(release.set)
    unfinished.enter_context(probes.work("a", on_abandon=lambda _: release.wait(20)))
    sigterm()
    wait_until(lambda: bool(lines(caplog, "abandoned after")), "it gives back")
    probes.service.sigterm.disarm()
    release.set()
    wait_until(lambda: reached(probes, DrainStep.DONE), "nothing is in flight any more")
    assert lines(caplog, "handing") == []
    assert hasty.signals == []
