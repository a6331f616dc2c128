from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from .balancers import absent
from .cells import CELLS
from .rolling import Departure, Plan, Result, run

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(bool(absent("envoy")), reason=absent("envoy")),
    pytest.mark.skipif(
        not Path("/proc/self/stat").exists(), reason="finds orphans in /proc: run it on Linux"
    ),
]


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.ci])
def test_a_rolling_restart_loses_no_request(name: str) -> None:
    """Instance after instance leaves in order, and no client of the balancer notices."""
    result = run(name, Plan())

    logs = "\n".join(departure.log for departure in result.departures)
    assert result.ok > 100
    assert (result.complaints(), result.reasons) == ([], {}), logs


def test_without_the_drain_the_clients_notice() -> None:
    """The load sees what a restart costs that nobody was told of."""
    result = run("uvicorn/asyncio", Plan(delay=0))

    assert result.reasons["/ status 503"] > 5
    assert "readiness did not fail after the signal" in result.complaints()


@pytest.mark.parametrize(
    ("name", "unready", "limit"),
    [
        ("uvicorn/asyncio", 0.051, 50),
        ("uvicorn/workers2", 0.551, 550),  # its supervisor looks for signals every 0.5 s
        ("hypercorn/asyncio-w2", 0.151, 150),  # its workers look at an event every 0.1 s
    ],
)
def test_what_is_unready_too_late_does_not_pass(name: str, unready: float, limit: int) -> None:
    """Of two restarts the better one has 50 ms after the server's own delay, the other one 1 s."""

    def complaints(*unready: float) -> list[str]:
        departures = [replace(left, unready=seconds) for seconds in unready]
        return replace(result, departures=departures).complaints()

    cell = CELLS[name]
    left = Departure(
        unready=0.0,
        seconds=1.5,
        status=cell.status,
        started=cell.workers,
        stopped=cell.workers,
        orphans=0,
        log="",
    )
    result = Result(cell=cell, plan=Plan(), ok=1, failures=[], departures=[])
    said = f"readiness failed {unready * 1000:.0f} ms after the signal, not {limit}"

    assert complaints(unready, unready) == [said]
    assert complaints(unready, limit / 1000) == []
    assert complaints(*[unready] * 50, *[0.01] * 50) == []
    assert complaints(1.01, 0.01) == ["readiness failed only 1.01 s after the signal"]
