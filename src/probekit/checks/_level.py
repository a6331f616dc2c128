"""That a number stays in bounds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal

from probekit._core.seconds import refuse_seconds
from probekit.checks._fetch import name_of
from probekit.checks._limits import Complaint, complain, make_limits, shown
from probekit.checks._source import Source
from probekit.exceptions import ConfigurationError, Unhealthy

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit.checks._fetch import Fetch
    from probekit.checks._limits import Limits
    from probekit.checks._source import Flight, Known

__all__ = ["Level"]


class Level:
    """Prove that a number stays in bounds: a queue's depth, a balance, the age of the oldest job.

    The number is fetched when somebody asks, at most once a ``max_age``, and by one at a time,
    however often the level is registered and on however many loops. An answer waits for it for
    ``wait`` at most; the fetch goes on, and what it brings is used when it comes.

    While the source cannot be asked (it raises, hangs, or brings no number) the last good number
    stands, marked stale, and the check fails when that is older than ``stale_after``. A fetch may
    also raise `Unhealthy` or `Degraded` itself, which is published as it is.

    Args:
        fetch: A function without arguments that returns the number: an int, a float or a Decimal.
            ``def`` runs on a thread of its own, ``async def`` on the event loop, where it is
            cancelled after 30 s.
        minimum: Fail below it. At least one of the four bounds is needed.
        maximum: Fail above it.
        degrade_below: Degrade below it.
        degrade_above: Degrade above it.
        max_age: Seconds for which a number is good.
        on_error: ``"fail"``: fail at once while the source cannot be asked.
        stale_after: Seconds after which a number that was kept is no longer believed; None: three
            times ``max_age``.
        retry_after: Seconds from a fetch that brought nothing to the next; None: ``max_age``.
        wait: Seconds that an answer waits for a fetch: less than the ``timeout`` of the check.
        name: What the check is called unless it is registered under another name; None: as
            ``fetch`` is.
        clock: For tests: returns seconds that never go back.

    Attributes:
        name: What the check is called.
        answers_within: ``wait``; a check whose ``timeout`` is no longer is refused, since the
            answer of a slow source would be a timeout, and not the last good number.

    Raises:
        ConfigurationError: An argument makes no sense.

    Note:
        Thread-safe. A forked child keeps the number and fetches its own next one.

    Example:
        ``probes.readiness(Level(queue_depth, maximum=10_000), critical=False)``
    """

    external: ClassVar[bool] = True
    """It asks something outside the process, so liveness refuses it."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        degrade_below: float | None = None,
        degrade_above: float | None = None,
        max_age: float = 60.0,
        on_error: Literal["keep", "fail"] = "keep",
        stale_after: float | None = None,
        retry_after: float | None = None,
        wait: float = 0.5,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        low = ("degrade_below", degrade_below), ("minimum", minimum)
        self._low: Limits = make_limits("Level", *low, upper=False)
        high = ("degrade_above", degrade_above), ("maximum", maximum)
        self._high: Limits = make_limits("Level", *high, upper=True)
        self._refuse_contradictions()
        refuse_seconds("Level", "max_age", max_age)
        refuse_seconds("Level", "wait", wait, least=0)
        if on_error not in ("keep", "fail"):
            raise ConfigurationError(f"Level: on_error must be 'keep' or 'fail', got {on_error!r}")
        self._keep = on_error == "keep"
        self._max_age = max_age
        self._stale_after = self._checked_stale_after(stale_after)
        retry_after = max_age if retry_after is None else retry_after
        refuse_seconds("Level", "retry_after", retry_after)
        self.name: str = name_of(fetch) if name is None else name
        self.answers_within: float = wait
        self._clock = clock
        self._source = Source(
            fetch, name=self.name, max_age=max_age, retry_after=retry_after, clock=clock
        )

    def _refuse_contradictions(self) -> None:
        low = [each for each in self._low[:2] if each is not None]
        high = [each for each in self._high[:2] if each is not None]
        if not low and not high:
            raise ConfigurationError(
                "Level: without a bound every number is well; give minimum, maximum, degrade_below "
                "or degrade_above"
            )
        if low and high and max(low) > min(high):
            raise ConfigurationError(
                f"Level: no number is well that must be at least {shown(max(low))} and at most "
                f"{shown(min(high))}; exchange the bounds"
            )

    def _checked_stale_after(self, stale_after: float | None) -> float:
        if stale_after is None:
            return 3 * self._max_age
        refuse_seconds("Level", "stale_after", stale_after)
        if not self._keep:
            raise ConfigurationError(
                f"Level: stale_after={stale_after!r} has no meaning with on_error='fail', which "
                "keeps nothing; leave one of them out"
            )
        if stale_after < self._max_age:
            raise ConfigurationError(
                "Level: stale_after must not be shorter than max_age, or a number is stale before "
                f"the next; got stale_after={stale_after:g} and max_age={self._max_age:g}"
            )
        return stale_after

    def snapshot(self) -> dict[str, float]:
        """Return what is known, without fetching.

        ``value``, its ``age`` in seconds, and ``stale`` (1 from ``max_age`` on, else 0); nothing
        before the first number.
        """
        return self._numbers(self._source.known)

    def _numbers(self, known: Known) -> dict[str, float]:
        if known.value is None:
            return {}
        age = max(0.0, self._clock() - known.at)
        return {"value": known.value, "age": age, "stale": int(age >= self._max_age)}

    async def __call__(self) -> dict[str, object]:
        """Run the check.

        Returns:
            ``value``, its ``age`` in seconds, whether it is ``stale`` because no newer one can be
            had, and then why, as ``trouble``.

        Raises:
            Unhealthy: The number is out of bounds, too old, or not yet known.
            Degraded: It is beyond a bound at which it degrades.
        """
        flight = self._source.refresh()
        if flight is not None:
            await flight.wait(self.answers_within)
        return self._judge(flight)

    def _judge(self, flight: Flight | None) -> dict[str, object]:
        # Before what is known is read, or an answer might come between and be told of by neither.
        waiting = None if flight is None or flight.answered else flight
        known = self._source.known
        numbers, trouble = self._numbers(known), known.trouble
        if trouble is None and waiting is not None:
            trouble = f"the source has not answered for {self._clock() - waiting.since:.1f} s"
        if known.said is not None:
            kind, message, detail = known.said
            raise kind(message, detail=_detail(numbers, None) | detail)
        if not numbers:
            raise Unhealthy(f"no number yet: {trouble}")
        value, age, detail = numbers["value"], numbers["age"], _detail(numbers, trouble)
        if trouble is not None and (not self._keep or age > self._stale_after):
            raise Unhealthy(f"no number for {age:.0f} s: {trouble}", detail=detail)
        since = "" if trouble is None else f", {age:.0f} s ago,"
        complain(
            [
                Complaint(beyond[0], f"{shown(value)}{since} is {word} {shown(beyond[1])}")
                for word, limits in (("below", self._low), ("above", self._high))
                if (beyond := limits.crossed(value))
            ],
            detail,
        )
        return detail


def _detail(numbers: dict[str, float], trouble: str | None) -> dict[str, object]:
    detail: dict[str, object] = dict(numbers)
    if numbers:
        detail |= {"age": round(numbers["age"], 3), "stale": trouble is not None}
    if trouble is not None:
        detail["trouble"] = trouble
    return detail
