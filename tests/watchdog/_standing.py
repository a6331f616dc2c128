"""A thread that stands still for as long as a test needs it, and a watchdog that is led by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from probekit import Probes
from probekit._core.engine import Engine
from probekit._core.observer import Observers
from probekit._lifecycle.traffic import Traffic
from probekit._lifecycle.watchdog.cause import Effort
from probekit._lifecycle.watchdog.last_words import LastWords
from probekit._lifecycle.watchdog.policy import make_policy
from probekit._lifecycle.watchdog.watch import Watchdog
from tests.fake_time import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from probekit._lifecycle.pod.pod import Pod
    from probekit._lifecycle.watchdog.stall import Stall

__all__ = ["Kennel", "Standing"]


class Standing:
    """A thread in `stand_still`; a context manager."""

    def __init__(self) -> None:
        self._there, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self.stand_still, name="standing", daemon=True)

    def stand_still(self) -> None:
        """Wait for the test."""
        self._there.set()
        self._go_on.wait(20)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._there.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def ident(self) -> int:
        """As Python calls it."""
        assert self._thread.ident is not None
        return self._thread.ident

    @property
    def native(self) -> int:
        """As the operating system calls it."""
        assert self._thread.native_id is not None
        return self._thread.native_id


class Kennel:
    """A watchdog in fake time, and what it watches.

    Args:
        directory: Where it may write.
        pod: Where exits are counted; by default nothing is shared.
        free_threaded: See `Watchdog`.
        options: Those of the policy.
    """

    def __init__(
        self,
        directory: Path,
        *,
        pod: Pod | None = None,
        free_threaded: bool = False,
        **options: Any,
    ) -> None:
        self.clock = FakeClock()
        self.engine = Engine(clock=self.clock, observers=Observers())
        self.heartbeat = self.engine.heartbeat
        self.traffic = Traffic(self.clock.monotonic)
        self.exits: list[int] = []
        self.dog = Watchdog(
            self.clock,
            make_policy(**{"stuck_after": 1.0} | options),
            self.engine,
            self.traffic,
            pod or Probes(observers=[]).service.pod,
            free_threaded=free_threaded,
        )
        self.termination_log = directory / "termination-log"
        self.dog.last_words = LastWords(
            termination_log=self.termination_log, leave=self.exits.append
        )
        self.dog.effort = Effort(directory / "nothing is known")
        assert self.dog.begin()

    def found(self) -> Stall | None:
        """Return what it has found."""
        return self.dog.stall

    def turn(self, standing: Standing) -> None:
        """Have the loop turn in that thread."""
        self.heartbeat.thread, self.heartbeat.native = standing.ident, standing.native
        self.dog.tick()

    def pass_time(self, seconds: float, *, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass and the watchdog look ten times a second; call ``each`` before."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            each()
            self.dog.tick()
