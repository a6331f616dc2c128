"""What an instance answers about its readiness, asked every few milliseconds."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, wait_until

from .clients import get

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Prober"]

PAUSE = 0.005
"""Seconds between an answer and the next question."""


class Prober:
    """Asks each time on a connection of its own, so that every worker is asked.

    A context manager: it has an answer when the block begins, and stops when it ends.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._answers: list[tuple[float, int]] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="prober")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        try:
            wait_until(lambda: bool(self._answers), "the prober has an answer")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End."""
        self._ends.set()
        self._thread.join(PATIENCE)

    def unready_after(self, moment: float) -> float | None:
        """Return the seconds until nothing but 503 came; None if something else came last.

        Args:
            moment: Since when, in monotonic seconds.
        """
        since = None
        for answered, status in reversed(self._answers):
            if answered < moment or status != 503:
                break
            since = answered
        return None if since is None else since - moment

    def _ask(self) -> None:
        while not self._ends.wait(PAUSE):
            try:
                status = get(self._port, "/readyz", patience=2.0).status
            except (OSError, http.client.HTTPException):  # it has gone
                continue
            self._answers.append((time.monotonic(), status))
