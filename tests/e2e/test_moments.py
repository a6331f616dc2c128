from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .moments import MOMENTS
from .stages import ON, play
from .verdicts import complaints, tardy

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        not Path("/proc/self/stat").exists(), reason="finds orphans in /proc: run it on Linux"
    ),
]

EVERYTHING = "uvicorn/asyncio"
"""Where every moment is played; `scripts/moments` plays all of them everywhere."""

DRAINS = [
    *((name, EVERYTHING) for name, moment in MOMENTS.items() if moment.drains),
    ("blocked", "uvicorn/uvloop"),
    *(("blocked-past", cell) for cell in ON if not cell.startswith("uvicorn/")),
    *(
        (name, cell)
        for cell in ("uvicorn/workers2", "granian/2")
        for name in ("blocked", "twice", "drained")
    ),
    ("twice", "hypercorn/asyncio"),
    ("twice", "gunicorn/asgi-w1"),
    ("nested", "hypercorn/trio"),
    ("nested", "daphne"),
    ("drained", "granian/1"),
    ("daemon", "hypercorn/asyncio"),
    ("sync-check", "hypercorn/trio"),
    ("async-check", "gunicorn/uvicorn-worker-w1"),
    ("again", "hypercorn/asyncio"),
]

AS_WITHOUT = [
    *((name, EVERYTHING) for name, moment in MOMENTS.items() if not moment.drains),
    ("importing", "gunicorn/asgi-w1"),
    ("starting", "hypercorn/trio"),
    ("starting", "granian/1"),
    ("interrupt", "hypercorn/asyncio"),
    ("zero", "hypercorn/trio"),
    ("zero", "gunicorn/uvicorn-worker-w1"),
]

IMPATIENT = [
    *(("again", cell) for cell in ON if not MOMENTS["again"].unheard(cell)),
    ("interrupt", EVERYTHING),
    ("interrupt", "hypercorn/asyncio"),
    ("interrupt", "gunicorn/asgi-w1"),
    ("interrupted", EVERYTHING),
    ("interrupted", "hypercorn/asyncio"),
]


@pytest.mark.parametrize(("name", "cell"), DRAINS)
def test_whatever_the_moment_it_drains_and_leaves_in_order(name: str, cell: str) -> None:
    """It turns unready, serves on, and ends in time with the server's exit status."""
    outcome = play(MOMENTS[name], cell)

    assert complaints(name, cell, outcome) == [], outcome.log


@pytest.mark.parametrize(("name", "cell"), AS_WITHOUT)
def test_where_nothing_is_drained_it_is_as_without_the_library(name: str, cell: str) -> None:
    """It ends as the bare application does on the same server, and as fast."""
    outcome = play(MOMENTS[name], cell)

    assert complaints(name, cell, outcome) == [], outcome.log


@pytest.mark.parametrize(("name", "cell"), IMPATIENT)
def test_the_last_signal_is_obeyed_within_half_a_second(name: str, cell: str) -> None:
    """The best of three is no slower than that, beside the bare application on the server."""
    found = ["not played"]
    for _ in range(3):
        found = tardy(name, cell, play(MOMENTS[name], cell).since)
        if not found:
            break

    assert found == []


def test_who_waits_after_the_last_signal_does_not_pass() -> None:
    """Half a second is the limit where the server hears of the signal, and only there."""
    assert tardy("again", EVERYTHING, 0.0) == []
    (found,) = tardy("again", EVERYTHING, 1.2)
    assert "left 1.20 s after the last signal, the bare application after" in found
    assert tardy("again", "uvicorn/workers2", 9.0) == []
    assert tardy("ready", EVERYTHING, 9.0) == []


def test_a_thread_that_never_ends_holds_up_trio_for_a_moment_only() -> None:
    """It ends by the signal as a plain hypercorn does, but its lifespan is shut down before."""
    outcome = play(MOMENTS["thread"], "hypercorn/trio")

    assert complaints("thread", "hypercorn/trio", outcome) == [], outcome.log


def test_a_bare_application_does_not_pass_for_one_that_drains() -> None:
    """What the others are free of is seen: it was neither unready nor there for long enough."""
    outcome = play(MOMENTS["ready"], EVERYTHING, plain=True)

    found = "; ".join(complaints("ready", EVERYTHING, outcome))
    assert "readiness failed after [] s" in found
    assert "left after" in found


def test_what_hangs_or_leaves_something_behind_does_not_pass() -> None:
    """Each way to leave in disorder is told by itself."""
    outcome = play(MOMENTS["ready"], EVERYTHING)

    assert complaints("ready", EVERYTHING, outcome) == [], outcome.log
    for wrong, said in (
        (replace(outcome, status=None), "(None, 1, 1), not (143, 1, 1)"),
        (replace(outcome, stopped=0), "(143, 1, 0), not (143, 1, 1)"),
        (replace(outcome, orphans=2), "2 processes left behind"),
        (replace(outcome, seconds=9.0), "left after 9.00 s"),
        (replace(outcome, readiness=[(0.01, 503), (0.3, 200)]), "readiness passed 0.30 s"),
        (replace(outcome, failed=[0.2, 0.3]), "2 requests failed, the first after 0.20 s"),
        (replace(outcome, trouble="TimeoutError: it came"), "TimeoutError: it came"),
    ):
        (complaint,) = complaints("ready", EVERYTHING, wrong)
        assert said in complaint
