"""How long to go on after SIGTERM, and who says so."""

from __future__ import annotations

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


@pytest.mark.parametrize("value", ["", "five", "-1", "nan", "inf", "5s", "1,5", "0x5", "\x00"])
def test_a_malformed_variable_is_refused_at_construction(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and what it held."""
    message = f"^{VARIABLE} must be a number of seconds >= 0, got "
    with pytest.raises(ConfigurationError, match=message) as caught:
        make_plan(None, {VARIABLE: value})
    assert repr(value) in str(caught.value)
    if "\x00" not in value:
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(ConfigurationError, match=message):
            Probes()


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "5", True, []])
def test_a_senseless_argument_is_refused(value: Any) -> None:
    """The message names the argument, the value and what 0 means."""
    with pytest.raises(ConfigurationError, match=r"^drain_delay must be .* >= 0.*0 hands"):
        Probes(drain_delay=value)


def test_an_integer_beyond_all_floats_is_refused() -> None:
    """Absurd, and a ConfigurationError like every other senseless value."""
    with pytest.raises(ConfigurationError, match=r"^drain_delay must be"):
        make_plan(10**400, {})
