"""What goes along with a service without being a part of it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Companion", "Listener"]


class Companion(Protocol):
    """What goes along with a service on a thread: it must not raise."""

    def keep(self) -> None:
        """Do what is to be done twice a second."""
        ...

    def leave(self) -> None:
        """Do what is to be done at the end, in a few seconds at most."""
        ...


class Listener(Protocol):
    """Who takes connections for a service, beside the server of the application."""

    def listen(self) -> None:
        """Take connections, if it does not yet.

        Raises:
            ConfigurationError: If that cannot be.
        """
        ...

    def try_to_listen(self) -> None:
        """Do the same where a request must not fail: what it would raise is logged."""
        ...
