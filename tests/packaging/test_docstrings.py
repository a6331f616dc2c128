from __future__ import annotations

import ast

from ._project import ROOT


def silent_tests(text: str) -> list[str]:
    """Return the names of the test functions that have no docstring."""
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


def test_every_test_says_what_holds() -> None:
    """The docstrings of the tests, read one after the other, describe the behaviour."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert silent_tests(path.read_text(encoding="utf-8")) == [], path


def test_a_silent_test_is_seen() -> None:
    """Helpers may be silent, tests may not, sync or async."""
    text = "def helper(): ...\ndef test_a(): ...\nasync def test_b(): ...\ndef test_c(): 'Holds.'"
    assert silent_tests(text) == ["test_a", "test_b"]
