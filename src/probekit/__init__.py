"""Tell a platform the truth about a Python process, and let it leave without losing a request."""

from probekit._core.check import Check
from probekit._core.model import CheckResult, Drain, DrainStep, Probe, Report, Status
from probekit._core.observer import Observer
from probekit.exceptions import (
    CheckFailure,
    ConfigurationError,
    Degraded,
    DrainIsFinalError,
    Unhealthy,
)
from probekit.probes import Probes, Work

__all__ = [
    "Check",
    "CheckFailure",
    "CheckResult",
    "ConfigurationError",
    "Degraded",
    "Drain",
    "DrainIsFinalError",
    "DrainStep",
    "Observer",
    "Probe",
    "Probes",
    "Report",
    "Status",
    "Unhealthy",
    "Work",
]
