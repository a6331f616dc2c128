"""The options of `probekit.Probes`, and which of them is whose."""

from __future__ import annotations

from typing import cast

from probekit._core.options import refuse_unknown
from probekit._lifecycle.plan import DrainOptions
from probekit._lifecycle.watchdog.policy import WatchOptions

__all__ = ["ProbesOptions", "split"]


class ProbesOptions(DrainOptions, WatchOptions, total=False):
    """What `probekit.Probes` takes beside its arguments; see there."""


def split(options: ProbesOptions) -> tuple[DrainOptions, WatchOptions]:
    """Return the options for leaving and those for watching.

    Raises:
        ConfigurationError: If one of them is neither.
    """
    refuse_unknown("Probes", options, ProbesOptions.__optional_keys__)
    parts = [
        {name: value for name, value in options.items() if name in kind.__optional_keys__}
        for kind in (DrainOptions, WatchOptions)
    ]
    return cast("DrainOptions", parts[0]), cast("WatchOptions", parts[1])
