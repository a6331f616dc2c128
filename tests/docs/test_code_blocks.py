"""Every code block of the README and of docs/ runs, parses, or says why it cannot.

The comment on the line before a block steers it, see `Block`; readers never see it.
"""

from __future__ import annotations

import ast
from functools import cache
from json import JSONDecodeError
from tomllib import TOMLDecodeError
from typing import TYPE_CHECKING

import pytest
from yaml import YAMLError

from tests.packaging._project import PACKAGE, ROOT, pyproject

from ._blocks import Block, Project, chains_of, check

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CHAINS = [
    pytest.param(chain, id=f"{page.relative_to(ROOT)}:{chain[-1].line}")
    for page in PAGES
    for chain in chains_of(page)
]


@cache
def this_project() -> Project:
    """Return what the pages may name: scripts, served paths, extras."""
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    literals = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    extras = pyproject()["project"]["optional-dependencies"]
    return Project(ROOT, frozenset(literals), frozenset(extras))


@pytest.mark.parametrize("chain", CHAINS)
def test_block_keeps_its_promise(
    chain: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page shows works, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    check(chain, this_project())


def blocks(directory: Path, text: str) -> list[list[Block]]:
    """Return the chains of a page with this text."""
    page = directory / "page.md"
    page.write_text(text, encoding="utf-8")
    return list(chains_of(page))


def check_page(directory: Path, text: str) -> None:
    """Check every block of a page with this text."""
    (directory / "scripts").mkdir()
    (directory / "scripts" / "test").write_text(
        "# --8<-- [start:part]\na = 1\n\n\n# --8<-- [end:part]\n", encoding="utf-8"
    )
    project = Project(directory, frozenset({"/readyz"}), frozenset({"redis"}))
    for chain in blocks(directory, text):
        check(chain, project)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\n1 / 0\n```", ZeroDivisionError),
        ("```python\nimport anyio\nawait anyio.sleep(0)\nundefined\n```", NameError),
        ("```python\na = 1\n```\n```python\na\n```", NameError),
        ("<!-- continue -->\n```python\na\n```", ValueError),
        ("<!-- raises: KeyError -->\n```python\n1 / 0\n```", ZeroDivisionError),
        ("<!-- raises: KeyError -->\n```python\npass\n```", AssertionError),
        ("- item\n\n    ```python\n    1 / 0\n    ```", ZeroDivisionError),
        ("```json\n{1}\n```", JSONDecodeError),
        ("```yaml\na: [\n```", YAMLError),
        ("```toml\na\n```", TOMLDecodeError),
        ("```bash\n./scripts/absent\n```", AssertionError),
        ("```bash\nrm -r /\n```", AssertionError),
        ("```bash\npip install probekit\n```", AssertionError),
        ("```bash\npip install 'probekit-health[absent]'\n```", AssertionError),
        ("```console\n$ curl localhost:8000/absent\n```", AssertionError),
        ("```console\n$ curl example.org/readyz\n```", AssertionError),
        ("```console\nonly output\n```", AssertionError),
        ("```\nno language\n```", AssertionError),
        ("```text\noutput\n```", AssertionError),
        ("<!-- skip -->\n```text\noutput\n```", AssertionError),
        ("```python\ndef test_a():\n    1 / 0\n```", ZeroDivisionError),
        ("```python\nasync def test_a():\n    1 / 0\n```", ZeroDivisionError),
        ("<!-- slice: absent.py:part -->\n```python\npass\n```", AssertionError),
        ("<!-- slice: scripts/test:absent -->\n```python\na = 1\n```", AssertionError),
        ("<!-- slice: scripts/test:part -->\n```python\na = 2\n```", AssertionError),
        ("```python\nnot closed", ValueError),
        ("<!-- skipp: a typing error -->\n```json\n{}\n```", ValueError),
    ],
)
def test_a_broken_block_fails(tmp_path: Path, text: str, error: type[Exception]) -> None:
    """No kind of broken block passes unseen."""
    with pytest.raises(error):
        check_page(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nimport anyio\nawait anyio.sleep(0)\n```",
        "```python\na = 1\n```\n```json\n{}\n```\n<!-- continue -->\n```python\nassert a\n```",
        "<!-- raises: ZeroDivisionError -->\n```python\n1 / 0\n```",
        "```python\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    b: 'int'\n```",
        "```yaml\na: 1\n---\nb: 2\n```",
        "```bash\n# a comment\n\n./scripts/test -k x\n```",
        "```bash\npip install 'probekit-health[redis]' uvicorn\n```",
        "```console\n$ curl -s 'http://localhost:8000/readyz/cache?verbose'\n[+]cache ok\n```",
        "```console\n$ curl \\\n    localhost:8000/readyz\n```",
        "<!-- skip: what the terminal shows -->\n```text\noutput\n```",
        "<!-- slice: scripts/test:part -->\n```python\na = 1\n```",
    ],
)
def test_a_sound_block_passes(tmp_path: Path, text: str) -> None:
    """No kind of sound block is refused."""
    check_page(tmp_path, text)


def test_traceback_points_to_the_page(tmp_path: Path) -> None:
    """Who breaks a page is told the page and the line."""
    with pytest.raises(ZeroDivisionError) as caught:
        check_page(tmp_path, "# Title\n\n```python\n1 / 0\n```")
    assert str(caught.traceback[-1].path).endswith("page.md")
    assert caught.traceback[-1].lineno + 1 == 4
