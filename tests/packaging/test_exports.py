"""``__all__`` of each public module says what users may rely on."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

import probekit

from ._project import ROOT, public_modules, sources

if TYPE_CHECKING:
    from collections.abc import Iterable


def imported_names(texts: Iterable[str]) -> dict[str, set[str]]:
    """Return the names that these sources import from each module."""
    names: dict[str, set[str]] = {}
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return names


def order(name: str) -> tuple[bool, bool, str]:
    """Sort as the linter does: CONSTANTS, Classes, functions."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("module", public_modules())
def test_all_is_sorted_and_real(module: str) -> None:
    """Each name of ``__all__`` exists, stands there once, and in order."""
    exported = getattr(import_module(module), "__all__", [])
    assert list(exported) == sorted(set(exported), key=order)
    assert [name for name in exported if not hasattr(import_module(module), name)] == []


@pytest.mark.parametrize("module", public_modules())
def test_all_is_complete(module: str) -> None:
    """What other modules and the examples import from here is public, so ``__all__`` lists it."""
    examples = (path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py"))
    used = imported_names([*sources().values(), *examples]).get(module, set())
    submodules = {name.rpartition(".")[2] for name in sources()}
    exported = set(getattr(import_module(module), "__all__", []))
    assert used - exported - submodules == set()


def test_root_exports_all_that_it_imports() -> None:
    """The root module imports nothing of its own for itself, and a name is what it promises."""
    imported = imported_names([sources()["probekit"]])
    own = {module: names for module, names in imported.items() if within_package(module)}
    assert set().union(*own.values()) == set(probekit.__all__)
    for module, names in own.items():
        for name in names:
            assert getattr(probekit, name) is getattr(import_module(module), name)


def within_package(module: str) -> bool:
    """Return whether a module is probekit's."""
    return module.startswith("probekit.")


def test_root_lists_what_it_exports() -> None:
    """A prompt completes the names, also those that nobody has asked for yet."""
    assert set(probekit.__all__) <= set(dir(probekit))


def test_root_has_nothing_else() -> None:
    """A name that there is not fails as everywhere."""
    with pytest.raises(AttributeError, match="module 'probekit' has no attribute 'Probe_'"):
        getattr(probekit, "Probe_")  # noqa: B009 - a type checker would see it
    with pytest.raises(ImportError, match="cannot import name 'Probe_' from 'probekit'"):
        exec("from probekit import Probe_")  # likewise


def test_root_loads_a_name_when_it_is_asked_for() -> None:
    """A command that needs none of them does not wait for them."""
    code = "import sys, probekit; print({name for name in sys.modules if '.probes' in name})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert shown.stdout == "set()\n"


def test_a_used_name_is_seen() -> None:
    """An import counts wherever it stands."""
    text = "from a.b import C\ndef f():\n    from a.b import d as e\nimport a"
    assert imported_names([text]) == {"a.b": {"C", "d"}}


@pytest.mark.parametrize("module", public_modules())
def test_public_names_have_docstrings(module: str) -> None:
    """Every public module, class and function says what it is for."""
    loaded = import_module(module)
    assert loaded.__doc__
    for name in getattr(loaded, "__all__", []):
        value = getattr(loaded, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            doc = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
            # A dataclass without a docstring gets its signature as one.
            assert doc, f"{module}.{name} has no docstring"
            assert not doc.startswith(f"{name}("), f"{module}.{name} has no docstring"


def test_types_are_shipped() -> None:
    """Type checkers believe the annotations of an installed probekit."""
    assert files("probekit").joinpath("py.typed").is_file()
