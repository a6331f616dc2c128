"""What probekit raises, and what a check raises."""

from __future__ import annotations

import pickle

import pytest

from probekit import (
    CheckFailure,
    ConfigurationError,
    Degraded,
    DrainIsFinalError,
    Probes,
    Unhealthy,
)
from probekit._core.clock import SystemClock
from probekit.exceptions import MissingExtraError


@pytest.mark.parametrize("kind", [Unhealthy, Degraded])
def test_a_check_failure_has_a_message_and_a_detail(kind: type[CheckFailure]) -> None:
    """Both are optional; the text is the message."""
    assert (kind().message, kind().detail, str(kind())) == ("", None, "")
    failure = kind("down", detail={"rows": 0})
    assert (failure.message, failure.detail, str(failure)) == ("down", {"rows": 0}, "down")
    assert isinstance(failure, CheckFailure)


def test_a_check_failure_survives_pickling() -> None:
    """A process pool may raise it."""
    failure = pickle.loads(pickle.dumps(Unhealthy("down", detail={"rows": 0})))
    assert (failure.message, failure.detail) == ("down", {"rows": 0})


def test_configuration_errors_are_no_check_failures() -> None:
    """None of the three kinds is taken for another."""
    kinds = [CheckFailure, ConfigurationError, DrainIsFinalError]
    assert [issubclass(one, other) for one in kinds for other in kinds].count(True) == 3


def test_a_missing_extra_is_an_import_error_with_the_install_line() -> None:
    """It names the module, the package and the command."""
    error = MissingExtraError("probekit.checks.redis", package="redis", extra="redis")
    assert isinstance(error, ImportError)
    assert error.name == "redis"
    assert str(error) == (
        "probekit.checks.redis needs redis; install it with: pip install 'probekit-health[redis]'"
    )


def test_the_clock_is_the_machines_by_default() -> None:
    """Monotonic for ages, wall time for people."""
    clock = Probes().service.clock
    assert isinstance(clock, SystemClock)
    first, wall = clock.monotonic(), clock.time()
    assert clock.monotonic() >= first
    assert wall > 1_700_000_000
