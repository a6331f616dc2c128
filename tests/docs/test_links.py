"""Links within the pages lead somewhere, on the site and where the files themselves are shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.packaging._project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")


def prose(page: Path) -> str:
    """Return the page's text without its code blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def hosted(heading: str) -> str:
    """Return the anchor that a code-hosting site makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def built(heading: str) -> str:
    """Return the anchor that MkDocs makes of it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def broken(page: Path) -> list[str]:
    """Return the page's links to files or headings that are not there under both names."""
    found = []
    for path, anchor in LINK.findall(prose(page)):
        target = page.parent / path if path else page
        if not target.exists():
            found.append(path)
        elif anchor and not anchor.startswith("probekit."):  # which the site makes of docstrings
            headings = HEADING.findall(prose(target))
            if anchor not in {*map(hosted, headings)} & {*map(built, headings)}:
                found.append(f"{path}#{anchor}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Whoever follows a link arrives at the heading, on the site and beside the code."""
    assert broken(page) == []
