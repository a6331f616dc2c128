"""One job: begun once, ended in one way, and named so that no log shows what it must not."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from uuid import UUID

import pytest

from probekit import ConfigurationError, Probes, Work
from tests.waiting import wait_until
from tests.web._asking import HeldClock, make_probes


def shown(probes: Probes) -> str:
    """Return what a log line says is in flight."""
    return str(probes.service.traffic)


class Colour(IntEnum):
    RED = 3


class Order:
    """Has a text that no log should show."""

    def __repr__(self) -> str:
        return "Order(card='4111 1111 1111 1111')"

    __str__ = __repr__


@pytest.mark.parametrize(
    ("job", "name", "text"),
    [
        ("invoice 17", None, "invoice 17"),
        (17, None, "17"),
        (Colour.RED, None, "3"),
        (UUID(int=2**127).int, None, str(2**127)),
        (10**5000, None, "int"),
        (Order(), None, "Order"),
        (b"token", None, "bytes"),
        (None, None, "NoneType"),
        (Order(), "order 4", "order 4"),
        ("a\nSIGTERM: all is well", None, "a?SIGTERM: all is well"),
        ("x" * 101, None, "x" * 100 + "..."),
        (0, "y" * 101, "y" * 100 + "..."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_job_is_shown_by_its_name_or_by_what_is_harmless(
    job: object, name: str | None, text: str
) -> None:
    """A text, a number or the name of a class; on one line, and not too long."""
    clock = HeldClock()
    probes = make_probes(clock)
    with probes.work(job, name=name):
        clock.now += 3.2
        assert shown(probes) == f"job {text} for 3.2 s"
    assert shown(probes) == ""


def test_a_job_is_in_flight_while_its_block_is_open() -> None:
    """By whichever way the block is left, and beside others of the same value."""
    probes = make_probes()
    work = probes.work("a")
    assert probes.in_flight == {"requests": 0, "websockets": 0, "jobs": 0}
    with work as entered, probes.work("a"):
        assert entered is work
        assert (work.job, work.abandoned) == ("a", False)
        assert probes.in_flight["jobs"] == 2
        assert not probes.service.traffic.idle()
    with pytest.raises(LookupError), probes.work("b"):
        raise LookupError
    assert probes.in_flight["jobs"] == 0
    assert not work.abandoned


@pytest.mark.anyio
async def test_an_async_block_is_the_same() -> None:
    """It waits for nothing."""
    probes = make_probes()
    async with probes.work(17) as work:
        assert probes.in_flight["jobs"] == 1
    assert probes.in_flight["jobs"] == 0
    with pytest.raises(ConfigurationError, match="job '17' has been begun already"):
        await work.__aenter__()


def test_a_block_is_entered_once() -> None:
    """Neither inside itself nor afterwards: a retry is a job of its own."""
    probes = make_probes()
    work = probes.work("invoice 17")
    with work:
        with pytest.raises(ConfigurationError, match="'invoice 17' has been begun already; call"):
            work.__enter__()
        assert probes.in_flight["jobs"] == 1
    with pytest.raises(ConfigurationError, match=r"call probes\.work\(\.\.\.\) anew"):
        work.__enter__()


def test_what_cannot_be_is_refused_at_once() -> None:
    """Not when the process leaves, which is too late."""
    probes = make_probes()
    with pytest.raises(ConfigurationError, match="name must be a str, got 17; use name=str"):
        probes.work("a", name=17)  # type: ignore[arg-type] # what is refused
    with pytest.raises(ConfigurationError, match="on_abandon must be a function that takes the"):
        probes.work("a", on_abandon="requeue")  # type: ignore[arg-type] # what is refused


@pytest.mark.timeout(60)
def test_each_job_ends_in_one_way_however_many_threads_there_are() -> None:
    """Those whose block was left in time are not given back, all others are, and once."""
    probes = make_probes()
    jobs, given_back, lock = probes.service.jobs, list[int](), threading.Lock()

    def take(job: int) -> None:
        with lock:
            given_back.append(job)

    over = threading.Event()
    started = threading.Barrier(33)

    def work(first: int) -> list[Work[int]]:
        began = []
        started.wait()
        for job in range(first, first + 200):
            with probes.work(job, on_abandon=take) as each:
                began.append(each)
        return began

    def abandon() -> None:
        started.wait()
        while not over.is_set():
            jobs.abandon()

    logging.getLogger("probekit").disabled = True
    reaper = threading.Thread(target=abandon)
    reaper.start()
    try:
        with ThreadPoolExecutor(32) as pool:
            begun = [each for some in pool.map(work, range(0, 6400, 200)) for each in some]
    finally:
        over.set()
        reaper.join(10)
        logging.getLogger("probekit").disabled = False
    assert len(begun) == 6400
    assert probes.in_flight["jobs"] == 0
    wait_until(jobs.given_back, "all have been taken")
    assert sorted(given_back) == [each.job for each in begun if each.abandoned]
