"""Tell a platform the truth about a Python process, and let it leave without losing a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

# Not before they are asked for: `probekit alive` runs in a process of its own every few seconds,
# needs none of them, and would spend more than half of its time on them.
_MODULES = {
    "_core.check": ("Check",),
    "_core.model": ("CheckResult", "Drain", "DrainStep", "Probe", "Report", "Status"),
    "_core.observer": ("Observer",),
    "exceptions": (
        "CheckFailure",
        "ConfigurationError",
        "Degraded",
        "DrainIsFinalError",
        "Unhealthy",
    ),
    "probes": ("Probes", "Work"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Return a name of `__all__` when it is asked for the first time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return what there is, for a prompt that completes names."""
    return sorted({*globals(), *__all__})
