"""One sentence for every optional dependency that is not installed."""

from __future__ import annotations

__all__ = ["MissingExtraError"]


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
