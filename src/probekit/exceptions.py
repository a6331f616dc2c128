"""Every exception that probekit raises, and the two that a check raises.

::

    Exception
    ├── CheckFailure            what a check raises to say how it is
    │   ├── Unhealthy           it does not work
    │   └── Degraded            it works, but not as it should
    ├── ConfigurationError      the application asked for something that makes no sense
    ├── DrainIsFinalError       somebody tried to end what SIGTERM or the fleet began
    ├── FleetError              the Redis of a fleet does not do what it was asked for
    └── ImportError
        └── MissingExtraError   a module needs a package that an extra installs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CheckFailure",
    "ConfigurationError",
    "Degraded",
    "DrainIsFinalError",
    "FleetError",
    "MissingExtraError",
    "Unhealthy",
]


class CheckFailure(Exception):
    """Say in a check how the thing it tests is; the base of `Unhealthy` and `Degraded`.

    Its text and detail are **published** to whoever asks the probe: write them to be read, without
    secrets. Of every other exception only the class name is published.

    Args:
        message: One sentence for the operator, such as ``"balance below 1.00"``.
        detail: Values to publish beside it: a mapping that JSON can express.
    """

    def __init__(self, message: str = "", *, detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Unhealthy(CheckFailure):
    """Raise in a check: the thing does not work."""


class Degraded(CheckFailure):
    """Raise in a check: the thing works, but not as it should; nothing is taken out of service."""


class ConfigurationError(Exception):
    """The application configured probekit in a way that cannot work.

    Raised at the earliest moment, with a text that names what, where, which value and the remedy.
    """


class DrainIsFinalError(Exception):
    """A drain cannot be ended here.

    SIGTERM began it, and the process is leaving; or it is the whole fleet's, which
    `probekit.fleet.Fleet.undrain` ends.
    """


class FleetError(Exception):
    """The Redis of a fleet does not do what `probekit.fleet.Fleet` asked it for.

    Its text names the remedy, and no password. Replicas never raise it: they log it.

    Attributes:
        answered: Whether it has answered at all: with a refusal, or with another application's key.
    """

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered: bool = answered


class MissingExtraError(ImportError):
    """A module of probekit needs a package that an extra installs.

    Args:
        module: The module that was imported, such as ``probekit.checks.redis``.
        package: The distribution that is missing, such as ``redis``.
        extra: The extra of ``probekit-health`` that brings it.
    """

    def __init__(self, module: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"{module} needs {package}; install it with: pip install 'probekit-health[{extra}]'",
            name=package,
        )
