"""The command line: its options, their defaults, and what the help says."""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from probekit._core.seconds import seconds_fault
from probekit.cli._client import Endpoint, endpoint_of
from probekit.cli._text import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]

__all__ = ["EXIT_CODES", "Options", "Parser", "above_zero", "parse", "parse_all"]

N = TypeVar("N", bound=argparse.Namespace)

URL_VARIABLE = "PROBEKIT_URL"
TOKEN_VARIABLE = "PROBEKIT_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_URL = "http://127.0.0.1:8000"
WAIT_TIMEOUT = 30.0

EXIT_CODES = """\
exit codes:
    0  {done}
    1  the service answered, but not as wished: {unwanted}
    2  it could not be asked, or the command line is wrong
  130  Ctrl-C{more}
"""


class Parser(argparse.ArgumentParser):
    """Does not repeat a URL that it did not expect: it may hold a password."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2."""
        if "@" in message or "://" in message:
            message = (
                "an argument, which is not shown since it may hold a password, stands where it "
                "does not belong; a URL follows its option"
            )
        super().error(message)


class Options(argparse.Namespace):
    """What the command line says.

    Attributes:
        command: A key of `probekit.cli._drain.COMMANDS`.
        endpoint: Where to ask.
        token: The bearer token, or None.
        connect_timeout: Seconds that a connection may take.
        timeout: Seconds that an answer may take.
        json: Whether to print the raw answer.
        reason: Why to drain, or None.
        by: Who drains, or None for whoever runs this.
        lease: Seconds after which the drain ends by itself, or None.
        wait: Whether to wait until the traffic has gone.
        delay: Seconds to wait at least, or None for the service's ``drain_delay``.
        wait_timeout: Seconds to wait at most.
    """

    command: str
    endpoint: Endpoint
    token: str | None
    connect_timeout: float
    timeout: float
    json: bool
    reason: str | None
    by: str | None
    lease: float | None
    wait: bool
    delay: float | None
    wait_timeout: float


def parse(argv: Sequence[str] | None) -> Options:
    """Return the options, with what the environment and the token file say in them.

    Args:
        argv: The arguments after the command's name, or None for those of this process.

    Raises:
        SystemExit: After the help or the version, with 0, or for what makes no sense, with 2.
    """
    parser = Parser(
        prog="probekit",
        description="Turn and read the drain of a service, from inside its container.",
        epilog="`probekit COMMAND --help` shows the options, defaults and exit codes of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_command in (add_drain, add_undrain, add_status):
        add_command(commands.add_parser)
    # For the help alone: their own modules have their options.
    commands.add_parser("alive", help="say whether the workers beside it move, or are stuck")
    commands.add_parser("fleet", help="drain, undrain and show all replicas, by Redis")
    options = parse_all(parser, commands.choices, argv, Options())
    given = vars(options)
    try:
        options.endpoint = endpoint_from(given["url"])
        options.token = token_from(given["token_file"])
        if options.command == "drain":
            complete_waiting(options)
    except ValueError as error:
        parser.exit(2, f"probekit {options.command}: {error}\n")
    return options


def parse_all(
    parser: Parser,
    commands: Mapping[str, argparse.ArgumentParser],
    argv: Sequence[str] | None,
    options: N,
) -> N:
    """Return ``options`` with what was given; `argparse` alone would show the wrong usage.

    Raises:
        SystemExit: For an argument that there is not, with 2 and the usage of its command.
    """
    _, unknown = parser.parse_known_args(argv, namespace=options)
    if unknown:
        command: str = vars(options)["command"]
        commands[command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def add_drain(add_parser: AddParser) -> None:
    """Add ``probekit drain``."""
    parser = command(
        add_parser,
        "drain",
        "Take the service out of traffic; it goes on serving what comes.",
        done="the service drains; with --wait: and its traffic has gone",
        unwanted="it refused, or with --wait\n       the traffic has not gone",
        more=(
            "\n\nAs a preStop hook: `exec` with the command probekit drain --wait. The pod ends "
            "whatever the\nexit code is; the time spent here counts against its "
            "terminationGracePeriodSeconds."
        ),
    )
    add = parser.add_argument
    add("--reason", metavar="TEXT", help="why, for whoever reads the answer (default: none)")
    add("--by", metavar="WHO", help="who (default: user@host)")
    add("--lease", type=above_zero, metavar="SECONDS", help="end it by itself (default: never)")
    add("--wait", action="store_true", help="return when the traffic has gone")
    add(
        "--delay",
        type=from_zero,
        metavar="SECONDS",
        help="with --wait: wait so long at least (default: the service's drain_delay)",
    )
    add(
        "--wait-timeout",
        type=above_zero,
        metavar="SECONDS",
        help=f"with --wait: wait so long at most (default: {WAIT_TIMEOUT:g})",
    )


def add_undrain(add_parser: AddParser) -> None:
    """Add ``probekit undrain``."""
    command(
        add_parser,
        "undrain",
        "Put the service back into traffic.",
        done="the service does not drain",
        unwanted="it refused,\n       SIGTERM began the drain, or the whole fleet drains",
    )


def add_status(add_parser: AddParser) -> None:
    """Add ``probekit status``."""
    command(
        add_parser,
        "status",
        "Show whether the service drains, why, and what is in flight.",
        done="the service does not drain",
        unwanted="it drains, or refused",
    )


def command(
    add_parser: AddParser, name: str, help: str, *, done: str, unwanted: str, more: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the options that all have.

    Args:
        add_parser: What makes its parser.
        name: What is typed.
        help: What it does, in a sentence.
        done: When it exits with 0.
        unwanted: When it exits with 1.
        more: What follows the exit codes.
    """
    parser = add_parser(
        name,
        help=help[:1].lower() + help[1:].rstrip("."),
        description=help,
        epilog=EXIT_CODES.format(done=done, unwanted=unwanted, more=more),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common(parser.add_argument_group("the service").add_argument)
    return parser


def add_common(add: Callable[..., argparse.Action]) -> None:
    """Add the options that all commands have.

    Args:
        add: Adds one.
    """
    add(
        "--url",
        help="http:// or https://, with the prefix under which probekit is mounted "
        f"(default: ${URL_VARIABLE}, or {DEFAULT_URL})",
    )
    add(
        "--token-file",
        metavar="PATH",
        help=f"file with the service's admin_token (default: ${TOKEN_VARIABLE}, or no token)",
    )
    add(
        "--connect-timeout",
        type=above_zero,
        default=2.0,
        metavar="SECONDS",
        help="for the connection (default: %(default)g)",
    )
    add(
        "--timeout",
        type=above_zero,
        default=5.0,
        metavar="SECONDS",
        help="for an answer, once connected (default: %(default)g)",
    )
    add("--json", action="store_true", help="print the answer as it came")


def endpoint_from(given: str | None) -> Endpoint:
    """Return where to ask, by the option, the environment, or by default."""
    source, url = "--url", given
    if url is None:
        source, url = URL_VARIABLE, os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        return endpoint_of(url)
    except ValueError as error:
        shown = "this" if "@" in url else ascii(url)  # it may hold a password
        raise ValueError(f"{source}: {shown} is no URL to ask: {error}") from None


def token_from(path: str | None) -> str | None:
    """Return the token, by the file or the environment; an empty variable is none."""
    source, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "")
    if path is not None:
        from pathlib import Path  # it takes as long to load as all of this module

        source = f"--token-file {path}"
        try:
            token = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{source}: cannot read it: {error}") from None
    token = token.strip()  # a mounted secret ends in a newline
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(f"{source}: a token is printable ASCII without spaces, this is not")
    if path is not None and not token:
        raise ValueError(f"{source}: it is empty; write the service's admin_token into it")
    return token or None


def complete_waiting(options: Options) -> None:
    """Fill in the default of ``--wait-timeout``, and refuse what contradicts itself."""
    given = vars(options)
    for name in ("delay", "wait_timeout"):
        if given[name] is not None and not options.wait:
            raise ValueError(f"--{name.replace('_', '-')} means nothing without --wait: add that")
    if given["wait_timeout"] is None:
        options.wait_timeout = WAIT_TIMEOUT
    if options.delay is not None and options.delay > options.wait_timeout:
        raise ValueError(
            f"--delay {options.delay:g} is longer than --wait-timeout {options.wait_timeout:g}: "
            "give a longer --wait-timeout"
        )


def from_zero(text: str) -> float:
    """Return a number of seconds that is not below zero."""
    return seconds(text, least=0)


def above_zero(text: str) -> float:
    """Return a number of seconds above zero."""
    return seconds(text)


def seconds(text: str, *, least: float | None = None) -> float:
    """Return a number of seconds, or refuse what no clock can count to."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if fault := seconds_fault(number, least=least):
        raise argparse.ArgumentTypeError(f"{fault}, got {text!r}")
    return number


class Version(argparse.Action):
    """Prints the version; to look it up takes longer than to start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and leave."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("probekit-health")
        except PackageNotFoundError:
            number = "of a version that nobody knows: it is not installed"
        say(f"probekit-health {number}", sys.stdout)
        parser.exit()
