"""The command, in this process and with a clean environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from probekit.cli import main
from tests.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable


class Outcome(NamedTuple):
    """What a command did."""

    code: int | str | None
    out: str
    err: str


class Run(Protocol):
    """Runs the command with these arguments."""

    def __call__(self, *arguments: str) -> Outcome: ...


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this machine would have asked, and set a proxy that nobody may use."""
    for name in ("PROBEKIT_URL", "PROBEKIT_ADMIN_TOKEN", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("COLUMNS", "100")  # for argparse


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return what runs the command in this process."""

    def run(*arguments: str) -> Outcome:
        code: int | str | None
        try:
            code = main(arguments)
        except SystemExit as left:
            code = left.code
        return Outcome(code, *capsys.readouterr())

    return run
