from __future__ import annotations

from pathlib import Path

import pytest

from .balancers import absent
from .cells import CELLS
from .rolling import Plan, run

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
