from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from probekit.cli._client import Endpoint, endpoint_of
from tests.packaging._project import pyproject

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Run

NUL = "\0"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", (False, "127.0.0.1", 8000, "/admin/drain")),
        ("HTTP://LOCALHOST/", (False, "localhost", 80, "/admin/drain")),
        ("https://a.example", (True, "a.example", 443, "/admin/drain")),
        ("http://[::1]:81/b/c", (False, "::1", 81, "/b/c/admin/drain")),
        ("http://a/b/admin/drain/", (False, "a", 80, "/b/admin/drain")),
        ("http://a/x%20y", (False, "a", 80, "/x%20y/admin/drain")),
    ],
)
def test_urls(url: str, expected: tuple[bool, str, int, str]) -> None:
    """The admin path is appended to the prefix, unless it is there."""
    assert endpoint_of(url)[1:] == expected
    assert endpoint_of(url) == endpoint_of(endpoint_of(url).url)
    assert isinstance(endpoint_of(url), Endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "localhost",
        "ftp://localhost",
        "http://",
        "http://:8000",
        "http://localhost:http",
        "http://localhost:99999",
        "http://[::1",
        "http://anna:secret@localhost",
        "http://localhost/?a=1",
        "http://localhost/#a",
        "http://lo calhost",
        "http://localhost/\r\nHost: b",
        "http://\u00fcber.example",
        f"http://localhost{NUL}",
    ],
)
def test_a_wrong_url_is_refused(url: str, run: Run) -> None:
    """Before anything is sent, in one line that names the option."""
    code, out, err = run("status", "--url", url)
    assert (code, out) == (2, "")
    assert err.startswith("probekit status: --url: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://anna:secret@localhost",
        "http://anna:sec#ret@localhost",
        "http://:8/secret@localhost",
        "http://:sec[re]t@localhost",
        "secret:x@localhost",
    ],
)
def test_credentials_in_a_url_are_not_shown(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those of the option or the variable, nor those in a place where no URL belongs."""
    for arguments in (["status", "--url", url], ["status", url], [url], ["status", "--ur", url]):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert not re.search("anna|sec|ret", err.replace("--token-file", ""))
    monkeypatch.setenv("PROBEKIT_URL", url)
    code, out, err = run("status")
    assert (code, out) == (2, "")
    assert err.startswith("probekit status: PROBEKIT_URL: this is no URL to ask: it must not hold")
    assert not re.search("anna|sec|ret", err)


def test_the_variable_of_a_wrong_url_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who typed nothing wrong is told where the wrong URL stands."""
    monkeypatch.setenv("PROBEKIT_URL", "localhost:8000")
    code, _, err = run("status")
    assert code == 2
    assert err.startswith("probekit status: PROBEKIT_URL: 'localhost:8000' is no URL")


@pytest.mark.parametrize("token", ["two words", "\u00fcber", "a\r\nHost: b", "\x7f"])
def test_a_token_that_no_header_holds_is_refused(
    token: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named by where it comes from, and never printed."""
    monkeypatch.setenv("PROBEKIT_ADMIN_TOKEN", token)
    code, _, err = run("status")
    assert code == 2
    assert err.startswith("probekit status: PROBEKIT_ADMIN_TOKEN: a token is printable ASCII")
    assert token not in err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot read it: "), (b"\xff\xfe", "cannot read it: "), (b" \n", "it is empty")],
)
def test_a_token_file_without_a_token_is_refused(
    content: bytes | None, said: str, run: Run, tmp_path: Path
) -> None:
    """A file that was asked for must be there, and hold something."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    code, _, err = run("status", "--token-file", str(file))
    assert code == 2
    assert err.startswith(f"probekit status: --token-file {file}: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("pause", "invalid choice: 'pause'"),
        ("status --wait", "unrecognized arguments: --wait"),
        ("status --js", "unrecognized arguments: --js"),
        ("drain --token secret", "unrecognized arguments: --token secret"),
        ("drain --lease 0", "argument --lease: must be > 0 seconds, got '0'"),
        ("drain --lease soon", "argument --lease: must be > 0 seconds, got 'soon'"),
        ("drain --wait --delay -1", "argument --delay: "),
        ("drain --wait --delay nan", "argument --delay: must be >= 0 seconds, got 'nan'"),
        ("drain --wait --wait-timeout inf", "argument --wait-timeout: must be at most 1e9 "),
        ("status --timeout 0", "argument --timeout: "),
        ("drain --delay 0", "--delay means nothing without --wait"),
        ("drain --wait-timeout 9", "--wait-timeout means nothing without --wait"),
        ("drain --wait --delay 31", "--delay 31 is longer than --wait-timeout 30"),
        ("drain --wait --delay 3 --wait-timeout 2", "give a longer --wait-timeout"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: str, said: str, run: Run) -> None:
    """Nothing is asked then, and the exit code is 2."""
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("command", ["drain", "undrain", "status", "fleet drain", "fleet status"])
def test_an_option_that_there_is_not_shows_those_of_its_command(command: str, run: Run) -> None:
    """The usage is that of the command, and not of all commands."""
    code, out, err = run(*command.split(), "--bogus")
    assert (code, out) == (2, "")
    assert err.startswith(f"usage: probekit {command} [-h]")
    assert f"probekit {command}: error: unrecognized arguments: --bogus\n" in err


def test_version(run: Run) -> None:
    """The version is that of the distribution."""
    version = pyproject()["project"]["version"]
    assert run("--version") == (0, f"probekit-health {version}\n", "")


def test_version_of_what_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that somebody put on the path have none."""
    monkeypatch.setattr(sys, "path", [])
    code, out, _ = run("--version")
    assert code == 0
    assert "nobody knows" in out


@pytest.mark.parametrize("command", ["drain", "undrain", "status"])
def test_help(command: str, run: Run) -> None:
    """The help tells the defaults and the exit codes."""
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    for piece in ("exit codes:", "http://127.0.0.1:8000", "(default: 5)", "$PROBEKIT_ADMIN_TOKEN"):
        assert piece in out
    assert max(map(len, out.splitlines())) <= 100


def test_help_names_the_commands(run: Run) -> None:
    """Who knows nothing but the name finds the rest."""
    out = run("--help").out
    for command in ("drain", "undrain", "status"):
        assert f"\n    {command} " in out
