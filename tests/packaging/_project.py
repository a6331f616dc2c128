"""Where the project lies, and what it is made of."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import probekit

ROOT = Path(__file__).parents[2]
PACKAGE = Path(probekit.__file__).parent
"""The package that is imported: in src/ or, when a wheel is tested, where that was installed."""


def sources() -> dict[str, str]:
    """Return the text of every module of the package by its dotted name."""
    texts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        texts[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return texts


def public_modules() -> list[str]:
    """Return the dotted names of the modules that users import."""
    return [name for name in sources() if not any(p.startswith("_") for p in name.split("."))]


def pyproject() -> dict[str, Any]:
    """Return the project's metadata and configuration."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
