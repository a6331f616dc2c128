"""The window of `Progress`, against a list of everything that ever happened."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from probekit.checks._window import BUCKETS, Window

SLACK = 1e-6
"""Of a bucket: that close to an edge, a float may fall on either side of it."""


class Outcome(NamedTuple):
    """Some jobs that ended together."""

    after: float
    """Seconds since the outcome before."""
    good: int
    bad: int


WINDOWS = st.floats(0.01, 1e6)
STARTS = st.floats(-1e6, 1e6)
# In windows, so that many fall into one, and some leave it empty.
PAUSES = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
OUTCOMES = st.lists(st.builds(Outcome, PAUSES, st.integers(0, 9), st.integers(0, 9)), max_size=60)


@given(seconds=WINDOWS, start=STARTS, outcomes=OUTCOMES, pause=PAUSES)
@example(seconds=60.0, start=0.0, outcomes=[Outcome(0.0, 1, 0)], pause=1.0)
@example(seconds=60.0, start=0.5, outcomes=[Outcome(0.0, 1, 0)], pause=61 / 60)
def test_what_is_young_counts_and_what_is_old_does_not(
    seconds: float, start: float, outcomes: list[Outcome], pause: float
) -> None:
    """All of the window is in the sums, and nothing older by more than one bucket."""
    window, now, happened = Window(seconds), start, list[tuple[float, Outcome]]()
    for outcome in outcomes:
        now += outcome.after * seconds
        window.add(now, good=outcome.good, bad=outcome.bad)
        happened.append((now, outcome))
    now += pause * seconds
    width = seconds / BUCKETS
    # Floats of a million seconds are coarser than the buckets of a short window.
    slack = width * SLACK + 1e-9
    surely = [each for at, each in happened if now - at < seconds - slack]
    perhaps = [each for at, each in happened if now - at <= seconds + width + slack]
    good, bad = window.sums(now)
    assert sum(each.good for each in surely) <= good <= sum(each.good for each in perhaps)
    assert sum(each.bad for each in surely) <= bad <= sum(each.bad for each in perhaps)


@given(seconds=WINDOWS, start=STARTS, good=st.integers(0, 9), bad=st.integers(0, 9))
def test_what_has_just_happened_counts(seconds: float, start: float, good: int, bad: int) -> None:
    """Exactly, and once."""
    window = Window(seconds)
    window.add(start, good=good, bad=bad)
    assert window.sums(start) == (good, bad)


@given(seconds=WINDOWS, times=st.lists(STARTS, min_size=1))
def test_a_clock_that_jumps_never_makes_up_an_outcome(seconds: float, times: list[float]) -> None:
    """Whatever the order of the times, there is never more in the window than was put into it."""
    window = Window(seconds)
    for count, now in enumerate(times, start=1):
        window.add(now, good=1)
        assert 1 <= window.sums(now)[0] <= count


def test_it_takes_the_same_memory_however_much_happens() -> None:
    """A busy year is as large as a quiet minute."""
    window = Window(60)
    for second in range(1000):
        window.add(second, good=1, bad=1)
    sizes = {len(getattr(window, name)) for name in ("_good", "_bad", "_marks")}
    assert sizes == {BUCKETS + 1}
