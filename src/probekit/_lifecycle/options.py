"""The options of `probekit.Probes`, and which of them is whose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from probekit._core.options import refuse_unknown
from probekit._core.text import TEXT_LIMIT, is_text
from probekit._lifecycle.plan import DrainOptions
from probekit._lifecycle.watchdog.policy import WatchOptions
from probekit.exceptions import ConfigurationError

__all__ = ["ProbesOptions", "refuse_arguments", "split"]

ARGUMENTS = ("clock", "drain_delay", "name", "observers")
"""What `probekit.Probes` takes by name and not among its options."""


class ProbesOptions(DrainOptions, WatchOptions, total=False):
    """What `probekit.Probes` takes beside its arguments; see there."""


def split(options: ProbesOptions) -> tuple[DrainOptions, WatchOptions]:
    """Return the options for leaving and those for watching.

    Raises:
        ConfigurationError: If one of them is neither.
    """
    refuse_unknown("Probes", options, {*ARGUMENTS, *ProbesOptions.__optional_keys__})
    parts = [
        {name: value for name, value in options.items() if name in kind.__optional_keys__}
        for kind in (DrainOptions, WatchOptions)
    ]
    return cast("DrainOptions", parts[0]), cast("WatchOptions", parts[1])


def refuse_arguments(*, name: object, observers: object, clock: object) -> None:
    """Refuse arguments of `probekit.Probes` that can be none.

    Raises:
        ConfigurationError: If one of them is such.
    """
    if not name or not is_text(name):
        raise ConfigurationError(
            f"Probes: name must be one line of 1 to {TEXT_LIMIT} printable characters, got {name!r}"
        )
    if observers is not None and not isinstance(observers, Iterable):
        raise ConfigurationError(
            f"Probes: observers must be a list of observers, got {observers!r}; put one alone into "
            f"a list, too"
        )
    methods = (getattr(clock, method, None) for method in ("monotonic", "time"))
    if clock is not None and not all(map(callable, methods)):
        raise ConfigurationError(
            f"Probes: clock must have the methods monotonic() and time(), got {clock!r}; leave it "
            f"out for that of the machine"
        )
