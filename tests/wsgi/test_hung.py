"""A flood of probes at a Flask application one of whose checks hangs, on gunicorn's threads."""

from __future__ import annotations

import pytest

from tests.e2e.clients import get, volley

from ._servers import serve

pytestmark = pytest.mark.timeout(60)

TIMEOUT = 0.5
"""Seconds that the hung check of the application may take."""
AT_ONCE = 3.0
"""Seconds that say "without waiting for the hang" even on a busy machine; `benchmarks` is exact."""


@pytest.mark.parametrize("hang", ["async", "sync", "stubborn"])
def test_every_probe_is_answered_and_everything_else_goes_on(hang: str) -> None:
    """A hung check fails its probe in time, and costs one thread at most and nothing else."""
    with serve("gunicorn-gthread-8-threads", "hung", HANG=hang) as server:
        answers = volley(server.port, "/readyz", count=50, at_a_time=5)
        assert {answer.status for answer in answers} == {503}
        assert max(answer.seconds for answer in answers) < TIMEOUT + AT_ONCE
        checks = answers[-1].json()["checks"]
        assert checks["hung"]["message"].startswith("timed out after 0.5 s, still running for ")
        assert checks["healthy"]["status"] == "healthy"

        for path in ("/", "/healthz"):
            answer = get(server.port, path)
            assert (answer.status, answer.seconds < AT_ONCE) == (200, True)
        names: list[str] = get(server.port, "/threads").json()
        assert names.count("probekit:hung") == (hang == "sync")
        assert server.stop() < 8.0


def test_ten_checks_take_as_long_as_one() -> None:
    """One after the other, ten times 10 ms could not be over within 100."""
    with serve("gunicorn-gthread-8-threads", "hung") as server:
        answers = [get(server.port, "/ten/readyz") for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert len(answers[0].json()["checks"]) == 10
        assert min(answer.seconds for answer in answers) < 0.1
