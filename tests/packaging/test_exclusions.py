"""Every exception from a rule gives its reason, and those from coverage are counted."""

from __future__ import annotations

import re

import pytest

from ._project import sources

PRAGMAS = 0
"""How many lines or branches no test reaches; each one more needs a good reason."""

EXCEPTION = re.compile(r"#\s*(pragma: no (?:cover|branch)|noqa|type: ignore|pyright: ignore)(.*)")
CODES = re.compile(r"(?:: ?[A-Z]+\d+(?:, ?[A-Z]+\d+)*|\[[\w, -]+\])?")


def without_reason(text: str) -> list[str]:
    """Return the exceptions from a rule after which no ``- reason`` or ``# reason`` follows."""
    return [
        found.group()
        for found in EXCEPTION.finditer(text)
        if not re.match(r"\s*(-|#)\s*\w+", CODES.sub("", found.group(2), count=1))
    ]


def test_exceptions_give_reasons() -> None:
    """Who reads a ``noqa`` or an ``ignore`` learns why it stands there."""
    found = {module: without_reason(text) for module, text in sources().items()}
    assert {module: lines for module, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "complaints"),
    [
        ("x = 1  # noqa: S101", 1),
        ("x = 1  # type: ignore[arg-type]", 1),
        ("x = 1  # pragma: no cover", 1),
        ("x = 1  # noqa: S101, EM101 - a reason", 0),
        ("x = 1  # type: ignore[arg-type]  # a reason", 0),
        ("x = 1  # pragma: no cover - a reason", 0),
        ("x = 1  # a comment", 0),
    ],
)
def test_a_missing_reason_is_seen(line: str, complaints: int) -> None:
    """The rule tells an exception with a reason from one without."""
    assert len(without_reason(line)) == complaints


def test_what_coverage_leaves_out_is_counted() -> None:
    """The number of excluded lines grows only on purpose."""
    assert sum(text.count("pragma: no ") for text in sources().values()) == PRAGMAS
