"""What is in flight."""

from __future__ import annotations

__all__ = ["Traffic"]


class Traffic:
    """Counts what the application is busy with; the doors count up and down.

    Attributes:
        requests: HTTP requests whose response is not complete; probes are not among them.
        websockets: Open WebSockets.
    """

    __slots__ = ("requests", "websockets")

    def __init__(self) -> None:
        self.requests: int = 0
        self.websockets: int = 0

    def in_flight(self) -> dict[str, int]:
        """Return the counts by kind."""
        return {"requests": self.requests, "websockets": self.websockets}
