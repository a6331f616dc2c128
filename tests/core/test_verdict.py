"""From outcomes to a status, and from statuses to an answer."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probekit import CheckResult, Probe, Report, Status
from probekit._core.verdict import Verdict, aggregate

H, D, U, N = Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.UNKNOWN
LETTERS = {"S": H, "D": D, "F": U, "?": N}


def result(status: Status, *, critical: bool = True, probe: Probe = Probe.READINESS) -> CheckResult:
    """Return a result of that status."""
    return CheckResult(name="one", probe=probe, status=status, critical=critical)


# -- aggregation ------------------------------------------------------------------------------

# The status of a report by that of its one check: (critical, not critical).
ONE = {
    Probe.READINESS: {H: (H, H), D: (D, D), U: (U, D), N: (N, D)},
    Probe.STARTUP: {H: (H, H), D: (D, D), U: (U, D), N: (N, D)},
    Probe.LIVENESS: {H: (H, H), D: (D, D), U: (U, D), N: (H, H)},
}


@pytest.mark.parametrize(
    ("probe", "status", "critical"), list(product(Probe, Status, [True, False])), ids=str
)
def test_the_status_of_one_check_becomes_that_of_the_report(
    probe: Probe, status: Status, critical: bool
) -> None:
    """Status x critical x probe, in full."""
    found = aggregate(probe, [result(status, critical=critical, probe=probe)])
    assert found is ONE[probe][status][0 if critical else 1]


@pytest.mark.parametrize("probe", list(Probe))
def test_no_check_at_all_is_healthy(probe: Probe) -> None:
    """An empty set passes."""
    assert aggregate(probe, []) is H


WORST = [H, D, N, U]


@pytest.mark.parametrize(("first", "second"), list(product(WORST, WORST)), ids=str)
def test_the_worst_of_two_critical_checks_decides(first: Status, second: Status) -> None:
    """Unhealthy is worse than unknown, unknown than degraded, whatever the order."""
    worst = WORST[max(WORST.index(first), WORST.index(second))]
    assert aggregate(Probe.READINESS, [result(first), result(second)]) is worst


@pytest.mark.parametrize("probe", list(Probe))
@pytest.mark.parametrize(("status", "passing"), [(H, True), (D, True), (N, False), (U, False)])
def test_healthy_and_degraded_pass(probe: Probe, status: Status, passing: bool) -> None:
    """What works stays in service; what is not known does not."""
    assert Report(probe, status, {}).passing is passing


# -- thresholds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "success", "outcomes", "statuses"),
    [
        (1, 1, "SFSD", "SFSD"),
        (2, 1, "SFSFSF", "SSSSSS"),
        (2, 1, "FSFSF", "?SSSS"),
        (3, 1, "SFFSFFF", "SSSSSSF"),
        (3, 1, "FFF", "??F"),
        (1, 2, "FSFSF", "FFFFF"),
        (1, 2, "FSSF", "FFSF"),
        (1, 2, "SS", "?S"),
        (1, 3, "FSDS", "FFFS"),
        (2, 2, "SSFFSS", "?SSFFS"),
        (2, 2, "FSFSFF", "?????F"),
        (1, 2, "SSDSD", "?SDSD"),
        (2, 1, "DFFS", "DDFS"),
    ],
)
def test_thresholds_count_what_comes_in_a_row(
    failure: int, success: int, outcomes: str, statuses: str
) -> None:
    """One outcome of the other kind forgets all before it: F S F S F never fails at 2."""
    verdict = Verdict(failure_threshold=failure, success_threshold=success)
    assert [verdict.observe(LETTERS[each]) for each in outcomes] == [
        LETTERS[each] for each in statuses
    ]


def modelled(failure: int, success: int, outcomes: list[Status]) -> Status:
    """Say naively, from the whole history, what the status is after ``outcomes``."""
    status = N
    for index, outcome in enumerate(outcomes):
        history = outcomes[: index + 1]
        if outcome is U:
            in_a_row = history[-failure:]
            if len(in_a_row) == failure and all(each is U for each in in_a_row):
                status = U
        else:
            in_a_row = history[-success:]
            enough = len(in_a_row) == success and all(each is not U for each in in_a_row)
            if enough or status in {H, D}:
                status = outcome
    return status


@given(
    failure=st.integers(1, 5),
    success=st.integers(1, 5),
    outcomes=st.lists(st.sampled_from([H, D, U]), max_size=30),
)
def test_the_status_is_that_of_a_model_which_knows_the_whole_history(
    failure: int, success: int, outcomes: list[Status]
) -> None:
    """Two counters remember all that matters of any history, for any thresholds."""
    verdict = Verdict(failure_threshold=failure, success_threshold=success)
    for outcome in outcomes:
        verdict.observe(outcome)
    assert verdict.status is modelled(failure, success, outcomes)


@given(outcomes=st.lists(st.sampled_from([H, D, U]), min_size=1, max_size=30))
def test_the_counts_are_the_length_of_the_last_row(outcomes: list[Status]) -> None:
    """Failures in a row are counted from the last success, and published as such."""
    verdict = Verdict(failure_threshold=3, success_threshold=3)
    for outcome in outcomes:
        verdict.observe(outcome)
    last = next((i for i, each in enumerate(reversed(outcomes)) if each is not U), len(outcomes))
    assert verdict.failures == last
    assert (verdict.failures == 0) is (verdict.successes > 0)


def test_the_age_of_a_result_is_never_negative() -> None:
    """A result from this very moment is 0 s old, whatever the rounding."""
    assert result(H)._replace(at=5.0).age(7.5) == 2.5
    assert result(H)._replace(at=5.0).age(4.999) == 0.0
