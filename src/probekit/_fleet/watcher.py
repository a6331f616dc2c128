"""The thread that follows the switch and says how the pod is."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING

from probekit.exceptions import FleetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._fleet.store import Store, Subscription
    from probekit._fleet.wire import Pod, Word

__all__ = ["Watcher"]

logger = logging.getLogger("probekit")

PERIOD = 3.0
"""Seconds between two looks at the switch if nobody tells of a turn, and two announcements."""
SOON = 1.0
"""Seconds after a turn until which all workers show it."""
SLICE = 0.2
"""Seconds after which the thread notices that it is to end."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds before another attempt; with a timeout of 1 s Redis is seen 6 s after it is back."""
FORGET_EVERY = 100
"""Announcements."""
MOST = 20
"""Different complaints; a server that puts the time into its errors never says the same twice."""


class Watcher:
    """Tells what Redis says, and tells Redis; while Redis is away, it tells nothing.

    Args:
        app: Whose fleet it is, for the log.
        connect: Makes the store.
        hear: Told of the switch each time it has been read, on the watcher's thread.
        describe: Says how the pod is.
    """

    def __init__(
        self,
        *,
        app: str,
        connect: Callable[[], Store],
        hear: Callable[[Word | None], None],
        describe: Callable[[], Pod],
    ) -> None:
        self._app = app
        self._connect = connect
        self._hear = hear
        self._describe = describe
        self._complaints: set[str] = set()
        self._said: set[str] = set()  # since all was last well: two errors may alternate
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._pid = 0
        self._failures = 0
        self._announced = 0

    @property
    def running(self) -> bool:
        """Whether it is under way; in a child that was forked it is not."""
        thread = self._thread
        return thread is not None and self._pid == os.getpid() and thread.is_alive()

    @property
    def troubled(self) -> bool:
        """Whether Redis does not do what it should."""
        return bool(self._complaints)

    def start(self) -> None:
        """Begin."""
        self._pid = os.getpid()
        self._ended = threading.Event()
        self._failures = self._announced = 0
        self._thread = threading.Thread(
            target=self._run, args=(self._ended,), name="probekit:fleet", daemon=True
        )
        self._thread.start()

    def stop(self, *, patience: float = 0.0) -> None:
        """End it, and wait for that so many seconds at most."""
        thread, self._thread = self._thread, None
        self._ended.set()
        if thread is not None and self._pid == os.getpid():
            thread.join(patience)

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                with self._connect() as store:
                    self._follow(store, ended)
            except FleetError as error:
                self._complain("switch", str(error))
            except Exception:
                if "fault" not in self._complaints:
                    logger.exception("fleet %s: probekit failed to watch it; it goes on", self._app)
                self._complaints.add("fault")
            self._failures += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
            # All pods lose Redis at once, and should not all come back at once.
            ended.wait(pause * random.uniform(0.75, 1))  # noqa: S311 - no secret

    def _follow(self, store: Store, ended: threading.Event) -> None:
        """Watch until it is to end.

        Raises:
            FleetError: If Redis answers no more.
        """
        subscription: Subscription | None = None
        refusal = ""
        period = SOON  # when all workers have begun
        while not ended.is_set():
            # First this, or a turn between the two is missed.
            if subscription is None:
                subscription, refusal = self._subscribe(store)
            else:
                subscription.check()
            self._read(store)
            self._announce(store)
            if subscription is not None:
                self._well("subscription")
            elif "switch" not in self._complaints:
                self._complain("subscription", refusal, "a turn is seen within 3 s only")
            self._failures = 0
            self._well("fault")
            due, period = time.monotonic() + period, PERIOD
            while not ended.is_set() and (left := due - time.monotonic()) > 0:
                if subscription is None:
                    ended.wait(left)
                elif subscription.wait(min(left, SLICE)):
                    self._read(store)
                    due = min(due, time.monotonic() + SOON)

    def _subscribe(self, store: Store) -> tuple[Subscription | None, str]:
        """Return what tells of a turn; None, and why, if Redis does not allow it."""
        try:
            return store.subscription(), ""
        except FleetError as error:
            if not error.answered:
                raise
            return None, str(error)

    def _read(self, store: Store) -> None:
        try:
            word = store.switch()
        except FleetError as error:
            if not error.answered:
                raise
            self._complain("switch", str(error))
            return
        self._well("switch")
        self._hear(word)

    def _announce(self, store: Store) -> None:
        try:
            store.announce(self._describe())
            if self._announced % FORGET_EVERY == 0:
                store.forget()
            self._announced += 1
        except FleetError as error:
            if not error.answered:
                raise
            self._complain("pods", str(error), "this pod is not listed")
            return
        self._well("pods")

    # -- the log ------------------------------------------------------------------------------

    def _complain(
        self,
        topic: str,
        text: str,
        consequence: str = "what the switch last said stays true until its lease ends",
    ) -> None:
        self._complaints.add(topic)
        if text not in self._said and len(self._said) < MOST:
            self._said.add(text)
            logger.warning("fleet %s: %s; %s", self._app, text, consequence)

    def _well(self, topic: str) -> None:
        troubled = self.troubled
        self._complaints.discard(topic)
        if troubled and not self.troubled:
            self._said.clear()
            logger.info("fleet %s: Redis does what it should again", self._app)
