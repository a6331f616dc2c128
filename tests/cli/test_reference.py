"""docs/reference/cli.md describes the command that there is."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from probekit.cli._arguments import parse
from tests.docs._blocks import blocks_of, commands_of
from tests.packaging._project import ROOT

PAGE = ROOT / "docs" / "reference" / "cli.md"
HOOK, *_ = [yaml.safe_load(b.text) for b in blocks_of(PAGE) if b.language == "yaml"]
LINES = [
    command
    for block in blocks_of(PAGE)
    if block.language == "console"
    for command in commands_of(block)
]


def after_the_name(words: list[str]) -> list[str]:
    """Return the arguments after ``probekit``."""
    return words[words.index("probekit") + 1 :]


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_understood(line: str) -> None:
    """What the page tells people to type, the command takes."""
    assert parse(after_the_name(shlex.split(line))).command


def test_the_hook_is_understood() -> None:
    """The hook drains, and waits."""
    options = parse(after_the_name(HOOK["lifecycle"]["preStop"]["exec"]["command"]))
    assert options.command == "drain"
    assert options.wait


@pytest.mark.parametrize("command", ["drain", "undrain", "status"])
def test_options_are_listed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option has a line in one of the tables, and its default where that is a number."""
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    _, _, text = capsys.readouterr().out.partition("\noptions:\n")
    shown = dict(re.findall(r"^  (--[\w-]+)(.*?)(?=^  -|^\S|\Z)", text, re.MULTILINE | re.DOTALL))
    page = PAGE.read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(--[\w-]+)` \| (.*?) \|", page, re.MULTILINE))
    assert set(shown) <= set(listed)
    assert command != "drain" or set(shown) == set(listed)
    for option, description in shown.items():
        number = re.search(r"\(default: (\d+)\)", description)
        assert (number.group(1) if number else "") == "".join(re.findall(r"^\d+$", listed[option]))
