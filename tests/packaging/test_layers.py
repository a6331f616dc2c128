"""The arrows between the folders go down only."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from ._project import sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_FILE = 350

CORE = ("probekit._core", "probekit.exceptions")
DOOR = (
    *CORE,
    "probekit._lifecycle",
    "probekit._web",
    "probekit.probes",
    "probekit.observers",
)

# What a module, or a folder, may import; the longest name that fits decides.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "probekit": ("probekit._core", "probekit.exceptions", "probekit.observers", "probekit.probes"),
    "probekit._probes": (*CORE, "probekit._lifecycle", "probekit._web"),
    "probekit.exceptions": (),
    "probekit._core": CORE,
    "probekit._lifecycle": (*CORE, "probekit._lifecycle"),
    "probekit._web": (*CORE, "probekit._lifecycle", "probekit._web"),
    "probekit.observers": CORE,
    "probekit.probes": (
        *CORE,
        "probekit._lifecycle",
        "probekit._probes",
        "probekit._web",
        "probekit.observers",
    ),
    "probekit.asgi": DOOR,
    "probekit.starlette": (*DOOR, "probekit.asgi"),
    "probekit.flask": (*DOOR, "probekit.wsgi"),
    "probekit.wsgi": DOOR,
    "probekit.watchdog": (*CORE, "probekit._lifecycle"),
    "probekit.checks": (
        "probekit.exceptions",
        "probekit._core.forked",
        "probekit._core.functions",
        "probekit._core.loops",
        "probekit._core.model",
        "probekit._core.seconds",
    ),
    "probekit.observe": (*CORE, "probekit.observers"),
    "probekit._alive": (*CORE, "probekit._lifecycle.pod", "probekit._web", "probekit._alive"),
    "probekit.cli": (
        "probekit.cli",
        "probekit._alive",
        "probekit.fleet",
        "probekit.exceptions",
        "probekit._core.model",
        "probekit._core.seconds",
    ),
    "probekit.__main__": ("probekit.cli",),
    "probekit._fleet": (*CORE, "probekit._lifecycle", "probekit._fleet"),
    "probekit.fleet": (*CORE, "probekit._lifecycle", "probekit._fleet"),
}

# Beside these, for annotations alone.
MAY_NAME: dict[str, tuple[str, ...]] = {
    "probekit.observe": ("probekit.probes",),
    "probekit.fleet": ("probekit.probes",),
}


# Their modules know nothing of one another, but may share private helpers.
SHARE_HELPERS = ("probekit.checks", "probekit.observe")


def within(name: str, folders: tuple[str, ...]) -> bool:
    """Return whether ``name`` is one of these modules or lies inside one."""
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


def for_annotations_alone(node: ast.AST) -> bool:
    """Return whether this is an ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(node: ast.AST, *, typing: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each imported name and whether it is imported for annotations alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = "." * child.level + (child.module or "")
            yield from ((f"{origin}.{alias.name}", typing) for alias in child.names)
        else:
            yield from imports(child, typing=typing or for_annotations_alone(child))


def violations(texts: Mapping[str, str]) -> list[str]:
    """Return a sentence for each import that goes up or across, and for each homeless module."""
    found = []
    for module, text in texts.items():
        homes = [name for name in MAY_IMPORT if name == module]
        homes += [name for name in MAY_IMPORT if name != "probekit" and within(module, (name,))]
        if not homes:
            found.append(f"{module} has no place in MAY_IMPORT")
            continue
        home = max(homes, key=len)
        for name, typing in imports(ast.parse(text)):
            allowed = MAY_IMPORT[home] + (MAY_NAME.get(home, ()) if typing else ())
            if home in SHARE_HELPERS and name.startswith(f"{home}._"):
                continue
            if name.startswith("."):
                found.append(f"{module} imports {name}: relative names hide the direction")
            elif within(name, ("probekit",)) and not within(name, allowed):
                found.append(f"{module} must not import {name}")
    return found


def test_arrows_go_down_only() -> None:
    """No module imports one that lies above it or beside it."""
    assert violations(sources()) == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("probekit._core.run", "import probekit", "must not import probekit"),
        ("probekit._core.run", "from probekit import Probes", "import probekit.Probes"),
        ("probekit._core.run", "def f():\n    import probekit._web.render", "probekit._web.render"),
        ("probekit._core.run", "from .._web import render", "relative names"),
        ("probekit._lifecycle.drain", "from probekit._web import access", "probekit._web.access"),
        ("probekit._web.render", "from probekit.probes import Probes", "probekit.probes.Probes"),
        ("probekit.asgi", "from probekit.starlette import routes", "probekit.starlette.routes"),
        ("probekit.starlette", "from probekit.wsgi import app", "probekit.wsgi.app"),
        ("probekit.checks.redis", "import probekit.checks.sqlalchemy", "checks.sqlalchemy"),
        ("probekit.checks.redis", "from probekit._core.engine import Engine", "_core.engine"),
        ("probekit.observe.prometheus", "from probekit.probes import Probes", "probekit.probes"),
        ("probekit.cli._client", "from probekit.probes import Probes", "probekit.probes.Probes"),
        ("probekit.__main__", "from probekit.asgi import probe_app", "probekit.asgi.probe_app"),
        ("probekit._core.functions", "from probekit._lifecycle import plan", "_lifecycle.plan"),
        ("probekit.extra", "", "has no place"),
    ],
)
def test_an_arrow_that_goes_up_is_seen(module: str, text: str, complaint: str) -> None:
    """The rule finds every kind of forbidden import, wherever it stands."""
    [found] = violations({module: text})
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("probekit._core.run", "import anyio\nfrom probekit._core.model import Probe"),
        ("probekit._core.run", "from probekit.exceptions import Degraded"),
        ("probekit.starlette", "from probekit.asgi import probe_app"),
        ("probekit.__main__", "from probekit.cli import main"),
        ("probekit.cli._drain", "from probekit.cli._client import Client"),
        ("probekit._lifecycle.hooks", "from probekit._core.functions import location"),
        ("probekit.observe.prometheus", "from probekit.observe._families import Family"),
        (
            "probekit.checks.redis",
            "import redis\nfrom probekit.exceptions import MissingExtraError",
        ),
        (
            "probekit.observe.prometheus",
            "if TYPE_CHECKING:\n    from probekit.probes import Probes",
        ),
    ],
)
def test_an_arrow_that_goes_down_is_allowed(module: str, text: str) -> None:
    """The rule leaves alone what it should."""
    assert violations({module: text}) == []


def test_every_place_is_taken() -> None:
    """A module that is gone needs no line there."""
    known = [*MAY_IMPORT, *MAY_NAME, *(name for each in MAY_IMPORT.values() for name in each)]
    assert set(known) - set(sources()) == set()


def test_files_are_short() -> None:
    """A file holds one concept, which fits into 350 lines."""
    lengths = {module: text.count("\n") for module, text in sources().items()}
    assert {module: n for module, n in lengths.items() if n > LONGEST_FILE} == {}
