"""That the loops of a consumer turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._core.seconds import refuse_seconds
from probekit.exceptions import ConfigurationError, Unhealthy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Heartbeat"]

MAIN = "main"

NAMED = 5
"""How many late loops a message names; all are in the detail."""


class Heartbeat:
    """Prove that every loop of a consumer still turns.

    Each loop calls `beat` once a turn; the check fails when one has not for ``max_age``, and names
    it. So a consumer that died or hangs is seen behind an HTTP thread that answers. Use it for
    liveness, since a restart cures that, or for readiness.

    A loop is known from its first beat on, and the ones in ``loops`` from the start: these, and the
    first beat of all where none are named, must come within ``grace``. A loop that ends in order is
    taken out with `stop`; when all are, the check passes.

    Args:
        max_age: Seconds for which a loop may be silent: more than its longest turn, that is, the
            longest wait for a job and the longest job.
        loops: The loops that must begin to beat. None are named by default: the first beat of any
            is then enough.
        grace: Seconds from construction until they must have begun; None: ``max_age``.
        name: What the check is called unless it is registered under another name.
        clock: For tests: returns seconds that never go back.

    Raises:
        ConfigurationError: An argument makes no sense.

    Note:
        Thread-safe, without a lock. A forked child begins anew, since it has none of its parent's
        loops: nothing has beaten, and ``grace`` begins again.

    Example:
        ``probes.liveness(Heartbeat(max_age=30), name="consumer")``
    """

    def __init__(
        self,
        *,
        max_age: float,
        loops: Iterable[str] = (),
        grace: float | None = None,
        name: str = "heartbeat",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        refuse_seconds("Heartbeat", "max_age", max_age)
        if grace is not None:
            refuse_seconds("Heartbeat", "grace", grace, least=0)
        names = [loops] if isinstance(loops, str) else list(loops)
        if isinstance(loops, str) or not all(_is_name(each) for each in names):
            raise ConfigurationError(
                f"Heartbeat: loops must be the names of loops, got {loops!r}; pass a list of texts "
                "that are not empty"
            )
        self.name: str = name
        self._max_age = max_age
        self._grace = max_age if grace is None else grace
        self._loops = tuple(names)
        self._clock = clock
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Forget every beat, and begin as if it were new."""
        self._started = self._clock()
        self._beats: dict[str, float] = {}
        self._awaited = dict.fromkeys(self._loops)
        self._ended = False

    def beat(self, loop: str = MAIN) -> None:
        """Say that ``loop`` turns; call it once a turn, also of a turn that finds nothing to do.

        Args:
            loop: Which of several; published. Each name is kept until `stop`, so let it name the
                loop and not the job.
        """
        self._beats[loop] = self._clock()

    def stop(self, loop: str = MAIN) -> None:
        """Say that ``loop`` has ended in order: it is no longer expected to beat.

        Its next `beat`, if there ever is one, brings it back.
        """
        self._ended = True
        self._awaited.pop(loop, None)
        self._beats.pop(loop, None)

    def snapshot(self) -> dict[str, float]:
        """Return for each loop the seconds since its last beat; if it has none, since the start."""
        beating, awaited = self._ages()
        return awaited | beating

    def __call__(self) -> dict[str, object]:
        """Run the check.

        Returns:
            ``{"loops": ...}`` with the seconds that `snapshot` gives.

        Raises:
            Unhealthy: A loop is late, or has not begun in time.
        """
        beating, awaited = self._ages()
        late = [
            (age, f"loop {loop!r} has not beaten for {age:.1f} s, at most {self._max_age:g} s")
            for loop, age in beating.items()
            if age > self._max_age
        ]
        late += [
            (age, f"loop {loop!r} has not begun to beat in {age:.1f} s")
            for loop, age in awaited.items()
            if age > self._grace
        ]
        age = self._clock() - self._started
        if not beating and not awaited and not self._ended and age > self._grace:
            late.append((age, f"no loop has begun to beat in {age:.1f} s"))
        detail: dict[str, object] = {
            "loops": {loop: round(age, 3) for loop, age in (awaited | beating).items()}
        }
        if late:
            raise Unhealthy(_sentence(late), detail=detail)
        return detail

    def _ages(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the seconds since each last beat, and since the start for those without one."""
        beats, awaited = self._beats.copy(), self._awaited.copy()
        now = self._clock()
        waited = max(0.0, now - self._started)
        return (
            {loop: max(0.0, now - at) for loop, at in beats.items()},
            {loop: waited for loop in awaited if loop not in beats},
        )


def _sentence(late: list[tuple[float, str]]) -> str:
    late.sort(reverse=True)
    sentences = [sentence for _, sentence in late[:NAMED]]
    if len(late) > NAMED:
        sentences.append(f"and {len(late) - NAMED} more")
    return "; ".join(sentences)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)
