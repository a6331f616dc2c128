"""What is in flight, since when, and when the last of it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from probekit._core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Traffic", "describe"]

SHOWN = 5
"""How many of those in flight a log line names."""

LONGEST_PATH = 100
"""Characters of a path that are shown."""

Entry: TypeAlias = "tuple[Mapping[str, Any], float]"


class Traffic:
    """Notes what the application is busy with; the doors enter it and take it out again.

    They do so without a call of a method, since an ordinary request pays for it: an entry is what
    describes the request (``method`` and ``path``) and when it came (monotonic seconds), by
    anything that is this request's alone.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        clock: As given.
        requests: HTTP requests whose response is not complete; probes are not among them.
        websockets: Open WebSockets.
        jobs: Jobs that a worker has begun and not ended.
        blocks: What a worker is inside of, and leaves by itself when it sees that it drains.
        latest: When the last ordinary request or WebSocket came, or None (monotonic seconds).
        counted: Whether there is a door that sees ordinary requests at all.
        threaded: Whether each request has a thread of its own, since the door is WSGI's.
        threads: How many the server handles at once in this process; None if nobody knows.
        parts: How many parts of WSGI bodies that come bit by bit have been handed to the server.
        asked_server: Whether a request of a server's own has told ``threads``.
    """

    __slots__ = (
        "asked_server",
        "blocks",
        "clock",
        "counted",
        "jobs",
        "latest",
        "parts",
        "requests",
        "threaded",
        "threads",
        "websockets",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock: Callable[[], float] = clock
        self.requests: dict[object, Entry] = {}
        self.websockets: dict[object, Entry] = {}
        self.jobs: dict[object, Entry] = {}
        self.blocks: dict[object, Entry] = {}
        self.latest: float | None = None
        self.counted: bool = False
        self.threaded: bool = False
        self.threads: int | None = None
        self.parts: int = 0
        self.asked_server: bool = False

    def in_flight(self) -> dict[str, int]:
        """Return the counts by kind."""
        return {
            "requests": len(self.requests),
            "websockets": len(self.websockets),
            "jobs": len(self.jobs),
        }

    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not (self.requests or self.websockets or self.jobs or self.blocks)

    def since_latest(self) -> float | None:
        """Return how many seconds ago the last ordinary request came, or None if none ever did."""
        latest = self.latest
        return None if latest is None else max(0.0, self.clock() - latest)

    def oldest(self) -> tuple[tuple[str, float], ...]:
        """Return what has been in flight longest: method and path, and since when."""
        # Copies, since they change in another thread.
        kinds = (self.requests, self.websockets, self.jobs)
        entries = [entry for kind in kinds for entry in kind.copy().values()]
        entries.sort(key=lambda entry: entry[1])
        return tuple((describe(scope), since) for scope, since in entries[:SHOWN])

    def __str__(self) -> str:
        """Name those in flight, the oldest first, each with its age."""
        now = self.clock()
        oldest = self.oldest()
        names = [f"{what} for {now - since:.1f} s" for what, since in oldest]
        more = len(self.requests) + len(self.websockets) + len(self.jobs) - len(oldest)
        if more > 0:
            names.append(f"and {more} more")
        return ", ".join(names)


def describe(scope: Mapping[str, Any]) -> str:
    """Return the method and the path of a request; its query may hold what no log should."""
    path = str(scope.get("path", "?"))
    # Whoever asks has chosen it: it must neither forge a line of the log nor fill it.
    shown = printable(path[:LONGEST_PATH])
    return f"{scope.get('method', 'WebSocket')} {shown}{'...' if len(path) > LONGEST_PATH else ''}"
