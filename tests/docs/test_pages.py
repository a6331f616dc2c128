"""What the pages show and ask for is what a reader gets and needs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from probekit import Probes
from probekit.asgi import ProbeMiddleware
from tests.packaging._project import ROOT

from ._blocks import blocks_of
from .test_code_blocks import PAGES

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
READMES = [README, *sorted((ROOT / "examples").rglob("README.md"))]


def answers_of(page: Path) -> list[dict[str, Any]]:
    """Return what the page shows of `/admin/drain`, in blocks or below a command."""
    shown = []
    for block in blocks_of(page):
        if block.language == "json":
            shown.append(block.text)
        elif block.language == "console":
            shown.extend(line for line in block.text.splitlines() if line.startswith('{"'))
    answers = [json.loads(text) for text in shown]
    return [answer for answer in answers if "sigterm" in answer]


def drain() -> dict[str, Any]:
    """Return what `/admin/drain` answers."""
    app = ProbeMiddleware(Starlette(), probes=Probes())
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as client:
        answer: dict[str, Any] = client.post("/admin/drain").json()
    return answer


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if answers_of(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_shown_drain_has_the_fields_of_the_answer(page: Path) -> None:
    """Who compares a drain with the page finds the same fields, in the same order."""
    real = drain()
    for shown in answers_of(page):
        assert [*shown] == [*real]
        for worker in shown["workers"]:
            assert [*worker] == [*real["workers"][0]]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "TestClient" in page.read_text(encoding="utf-8")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_page_with_a_test_client_says_what_that_needs(page: Path) -> None:
    """Starlette's test client needs a package that neither FastAPI nor Starlette brings along."""
    assert re.search("pip install.* httpx2", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_needs_a_newer_pip(page: Path) -> None:
    """The pip that comes with Python 3.11 knows no groups."""
    assert "pip install -e . --group" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [README, ROOT / "docs" / "tutorial.md"], ids=lambda page: page.name
)
def test_page_says_how_to_install_a_checkout(page: Path) -> None:
    """Who has the repository, and no index with the package, can begin as well."""
    assert re.search(r"pip install '?\.[ \[]", page.read_text(encoding="utf-8"))
