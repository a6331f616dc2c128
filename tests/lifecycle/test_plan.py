"""How the process will leave after SIGTERM, and who says so."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from probekit import ConfigurationError, Probes
from probekit._lifecycle.plan import ORCHESTRATORS, Plan, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PROBEKIT_DRAIN_DELAY"


@pytest.mark.parametrize(
    ("argument", "environment", "plan"),
    [
        (None, {}, Plan(0.0, "no orchestrator seen")),
        (None, {VARIABLE: "2.5"}, Plan(2.5, f"variable {VARIABLE}")),
        (None, {VARIABLE: " 3 "}, Plan(3.0, f"variable {VARIABLE}")),
        (None, {VARIABLE: ""}, Plan(0.0, "no orchestrator seen")),
        (None, {VARIABLE: "", "K_SERVICE": "x"}, Plan(5.0, "Cloud Run seen")),
        (None, {VARIABLE: "0", "K_SERVICE": "x"}, Plan(0.0, f"variable {VARIABLE}")),
        (7, {VARIABLE: "2.5"}, Plan(7.0, "argument drain_delay")),
        (0, {"KUBERNETES_SERVICE_HOST": "x"}, Plan(0.0, "argument drain_delay")),
        (0.25, {VARIABLE: "nonsense"}, Plan(0.25, "argument drain_delay")),
        *[(None, {name: "x"}, Plan(5.0, f"{who} seen")) for name, who in ORCHESTRATORS.items()],
    ],
)
def test_the_delay_comes_from(
    argument: float | None, environment: Mapping[str, str], plan: Plan
) -> None:
    """The argument goes before the variable, and that before an orchestrator."""
    assert make_plan(argument, environment) == plan


@pytest.mark.parametrize("value", [" ", "five", "-1", "nan", "inf", "5s", "1,5", "0x5", "\x00"])
def test_a_malformed_variable_is_refused_at_construction(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and what it held."""
    message = f"^environment: {VARIABLE} must be "
    with pytest.raises(ConfigurationError, match=message) as caught:
        make_plan(None, {VARIABLE: value})
    assert repr(value)[1:-1] in str(caught.value)
    if "\x00" not in value:
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(ConfigurationError, match=message):
            Probes()


NO_TIMES = [-0.1, math.nan, "5", True, []]
TOO_LONG = [1e9 + 1, math.inf, 10**400]


@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: repr(value)[:10])
def test_a_senseless_argument_is_refused(value: Any) -> None:
    """The message names the argument, the value and what 0 means."""
    with pytest.raises(ConfigurationError, match=r"^Probes: drain_delay must be >= 0 .*; 0 hands"):
        Probes(drain_delay=value)


@pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: repr(value)[:10])
@pytest.mark.parametrize("option", ["quiet_for", "drain_max", "linger"])
def test_every_time_is_held_to_the_same_rule(option: str, value: Any) -> None:
    """Negative, NaN, a string, a bool, a list: each is shown back."""
    options: dict[str, Any] = {option: value}
    message = f"Probes: {option} must be >= 0 seconds, got {value!r}"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Probes(drain_delay=0, **options)


@pytest.mark.parametrize("value", TOO_LONG, ids=lambda value: repr(value)[:10])
@pytest.mark.parametrize("option", ["drain_delay", "quiet_for", "drain_max", "linger"])
def test_a_time_that_no_clock_counts_to_is_refused(option: str, value: Any) -> None:
    """The message names the longest."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(
        ConfigurationError, match=rf"^Probes: {option} must be at most 1e9 seconds, got "
    ):
        Probes(**options)


def test_every_time_may_be_zero() -> None:
    """Zero means at once, and is a float like all other times."""
    plan = make_plan(0, {}, drain_until="quiet", quiet_for=0, drain_max=0, linger=0)
    assert (plan.quiet_for, plan.drain_max, plan.linger, plan.longest) == (0.0, 0.0, 0.0, 0.0)
    assert {type(value) for value in (plan.quiet_for, plan.drain_max, plan.linger)} == {float}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drain_until": "quite"}, "drain_until must be 'delay' or 'quiet', got 'quite'"),
        ({"drain_until": None}, "drain_until must be 'delay' or 'quiet', got None"),
        ({"drain_until": True}, "drain_until must be 'delay' or 'quiet', got True"),
        ({"drain_until": ["quiet"]}, r"drain_until must be 'delay' or 'quiet', got \['quiet'\]"),
        (
            {"drain_until": "quiet", "quiet_for": 20, "drain_max": 10},
            "quiet_for must not be longer than drain_max, .* got quiet_for=20 and drain_max=10",
        ),
        ({"seen_503": 0}, "seen_503 must be a whole number >= 1, got 0"),
        ({"seen_503": -1}, "seen_503 must be a whole number >= 1, got -1"),
        ({"seen_503": True}, "seen_503 must be a whole number >= 1, got True"),
        ({"seen_503": 2.0}, r"seen_503 must be a whole number >= 1, got 2\.0"),
        ({"seen_503": "2"}, "seen_503 must be a whole number >= 1, got '2'"),
        ({"seen_503": None}, "seen_503 must be a whole number >= 1, got None"),
        ({"close_websockets": 1}, "close_websockets must be True or False, got 1"),
        ({"close_websockets": "yes"}, "close_websockets must be True or False, got 'yes'"),
        ({"close_websockets": None}, "close_websockets must be True or False, got None"),
        ({"quiet_for": None}, "quiet_for must be >= 0 seconds, got None"),
        ({"linger": None}, "linger must be >= 0 seconds, got None"),
        ({"drain_mx": 5}, "there is no option 'drain_mx'; did you mean 'drain_max'?"),
        ({"quiet": 1}, "there is no option 'quiet'; did you mean 'quiet_for'?"),
        ({"drain_dela": 5}, "there is no option 'drain_dela'; did you mean 'drain_delay'?"),
        ({"observer": 5}, "there is no option 'observer'; did you mean 'observers'?"),
        ({"grace": 5}, "there is no option 'grace'; there are clock, close_websockets, drain_del"),
        (
            {"drain_max": 10},
            "drain_max=10 has no meaning without drain_until='quiet'; add that, or leave it out",
        ),
        ({"drain_until": "delay", "seen_503": 1}, "seen_503=1 has no meaning without drain_until"),
        ({"quiet_for": 0}, "quiet_for=0 has no meaning without drain_until='quiet'"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_another_senseless_option_is_refused(options: dict[str, Any], message: str) -> None:
    """At construction, with the name, the value and what is wanted."""
    with pytest.raises(ConfigurationError, match=f"^Probes: {message}"):
        Probes(drain_delay=0, **options)


@pytest.mark.parametrize(
    ("argument", "environment", "source"),
    [
        (20, {}, "argument drain_delay"),
        (None, {VARIABLE: "20"}, f"variable {VARIABLE}"),
    ],
)
def test_an_end_before_the_delay_is_refused(
    argument: float | None, environment: Mapping[str, str], source: str
) -> None:
    """The text has both numbers, and who asked for the delay."""
    with pytest.raises(ConfigurationError) as caught:
        make_plan(argument, environment, drain_until="quiet", drain_max=19.5)
    assert str(caught.value) == (
        "Probes: drain_max must not be shorter than drain_delay, got drain_max=19.5 and "
        f"drain_delay=20 ({source}); raise drain_max, or leave it out"
    )
    plan = make_plan(argument, environment, drain_until="quiet", drain_max=20)
    assert plan.drain_max == 20


@pytest.mark.parametrize(("delay", "longest"), [(0, 15), (5, 15), (15, 15), (40, 40)])
@pytest.mark.parametrize("options", [{}, {"drain_max": None}], ids=str)
def test_without_an_end_it_is_fifteen_seconds_or_the_delay(
    delay: float, longest: float, options: dict[str, Any]
) -> None:
    """A delay beyond the default moves the end with it."""
    assert make_plan(delay, {}, **options).drain_max == longest


def test_the_longest_drain_is() -> None:
    """With a fixed delay that delay, and with evidence its limit."""
    assert make_plan(5, {}, drain_until="delay").longest == 5
    assert make_plan(5, {}, drain_until="quiet", drain_max=12).longest == 12


def test_the_options_arrive_as_they_were_given() -> None:
    """Each in its place, whichever way `Probes` hands them on."""
    probes = Probes(
        drain_delay=3,
        drain_until="quiet",
        seen_503=4,
        quiet_for=0.5,
        drain_max=12,
        linger=7,
        close_websockets=True,
    )
    plan = Plan(3.0, "argument drain_delay", "quiet", 4, 0.5, 12.0, 7.0, close_websockets=True)
    assert probes.service.sigterm.plan == plan


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(5.0, "Nomad seen"), "drain for 5 s (Nomad seen)"),
        (Plan(0.25, "argument drain_delay"), "drain for 0.25 s (argument drain_delay)"),
        (
            Plan(5.0, "Nomad seen", "quiet", 3, 1.5, 15.0),
            "drain until no request has come for 1.5 s, once a prober has seen 503 3 times or 5 s "
            "have passed (Nomad seen), and for 15 s at most",
        ),
    ],
)
def test_a_plan_says_what_it_is(plan: Plan, said: str) -> None:
    """In the words of the log, with every number that decides."""
    assert str(plan) == said
