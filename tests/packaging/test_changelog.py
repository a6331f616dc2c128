from __future__ import annotations

import re
from importlib.metadata import version

from ._project import ROOT, pyproject

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (\S+)", CHANGELOG, flags=re.MULTILINE)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_version_is_in_the_changelog() -> None:
    """The version is described, or on its way: then the newest section is ``Unreleased``."""
    assert HEADINGS[0] in {"Unreleased", pyproject()["project"]["version"]}


def test_changes_are_of_the_known_kinds() -> None:
    """Each change stands under one of the six headings of Keep a Changelog."""
    assert set(re.findall(r"^### (.+)", CHANGELOG, flags=re.MULTILINE)) <= KINDS


def test_what_is_installed_is_this_version() -> None:
    """The tests run against the version that they belong to."""
    assert version("probekit-health") == pyproject()["project"]["version"]
