"""What ``probekit fleet drain``, ``undrain`` and ``status`` do: the replicas, by their Redis."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from probekit.cli._arguments import EXIT_CODES, Parser, above_zero, parse_all
from probekit.cli._drain import caller
from probekit.cli._text import drain_lines, say, shown, span
from probekit.exceptions import ConfigurationError, FleetError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from probekit._core.model import Drain
    from probekit.fleet import Fleet, FleetStatus, Replica, Turned

__all__ = ["fleet"]

REDIS_VARIABLE = "PROBEKIT_FLEET_REDIS"
APP_VARIABLE = "PROBEKIT_FLEET_APP"
TIMEOUT = 5.0
INTERRUPTED = 130

COLUMNS = ("replica", "state", "version", "ready", "requests", "websockets", "jobs", "heard")


class Options(argparse.Namespace):
    """What the command line says.

    Attributes:
        command: ``"drain"``, ``"undrain"`` or ``"status"``.
        redis: The URL.
        app: The application's name.
        timeout: Seconds that Redis may take.
        json: Whether to print JSON.
        reason: Why to drain.
        by: Who drains, or None for whoever runs this.
        lease: Seconds after which the drain ends by itself, or None.
    """

    command: str
    redis: str | None
    app: str | None
    timeout: float
    json: bool
    reason: str
    by: str | None
    lease: float | None


def fleet(argv: Sequence[str]) -> int:
    """Run ``probekit fleet`` and return its exit code.

    Args:
        argv: The arguments after ``fleet``.

    Returns:
        0: done. 1: Redis answered, but not as wished. 2: it could not be asked. 130: Ctrl-C.

    Raises:
        SystemExit: After ``--help``, with 0, or for a wrong option, with 2.
    """
    options = parse(argv)
    try:
        return COMMANDS[options.command](connected(options), options)
    except FleetError as failure:
        text, code = str(failure), 1
        if not failure.answered:
            remedy = f"is that its address, and is it up? give --redis or {REDIS_VARIABLE}"
            text, code = f"{text}; {remedy}", 2
    except (ConfigurationError, MissingExtraError) as failure:
        text, code = str(failure), 2
    except KeyboardInterrupt:
        return INTERRUPTED
    say(f"probekit fleet {options.command}: {text}", sys.stderr)
    return code


def connected(options: Options) -> Fleet:
    """Return the fleet that the options name."""
    from probekit.fleet import Fleet  # needs the extra

    redis = options.redis or os.environ.get(REDIS_VARIABLE)
    app = options.app or os.environ.get(APP_VARIABLE)
    for value, option, variable in (
        (redis, "--redis URL", REDIS_VARIABLE),
        (app, "--app NAME", APP_VARIABLE),
    ):
        if not value:
            raise ConfigurationError(f"{option} is missing; give it, or set {variable}")
    return Fleet(redis or "", app=app or "", timeout=options.timeout)


# -- the command line -----------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> Options:
    """Return the options.

    Raises:
        SystemExit: After the help, with 0, or for what makes no sense, with 2.
    """
    parser = Parser(
        prog="probekit fleet",
        description="Turn and read the drain of all replicas of an application.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = add_command(
        commands.add_parser,
        "drain",
        "Take all replicas out of traffic; they go on serving what comes.",
        done="the switch is set; each replica sees it at once, or within 3 s",
        unwanted="it refused, or another\n       application's key is in the way",
    )
    add("--reason", default="", metavar="TEXT", help="why, for whoever reads it (default: none)")
    add("--by", metavar="WHO", help="who (default: user@host)")
    add("--lease", type=above_zero, metavar="SECONDS", help="end it by itself (default: never)")
    add_command(
        commands.add_parser,
        "undrain",
        "Put all replicas back into traffic.",
        done="the switch is not set",
        unwanted="it refused, or another\n       application's key is in the way",
    )
    add_command(
        commands.add_parser,
        "status",
        "Show the switch and every replica.",
        done="all replicas are healthy, and the fleet does not drain",
        unwanted="a replica is not healthy\n       or gone, there is none, or the fleet drains",
    )
    return parse_all(parser, commands.choices, argv, Options())


def add_command(
    add_parser: Callable[..., argparse.ArgumentParser],
    name: str,
    help: str,
    *,
    done: str,
    unwanted: str,
) -> Callable[..., argparse.Action]:
    """Add a command with the options that all have, and return what adds more."""
    parser = add_parser(
        name,
        help=help[:1].lower() + help[1:].rstrip("."),
        description=help,
        epilog=EXIT_CODES.format(done=done, unwanted=unwanted, more="").replace("service", "Redis"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--redis",
        metavar="URL",
        help="redis://, rediss:// or unix://; `ps` shows a password in it, which the variable "
        f"keeps to itself (default: ${REDIS_VARIABLE})",
    )
    add("--app", metavar="NAME", help=f"the application's name (default: ${APP_VARIABLE})")
    add(
        "--timeout",
        type=above_zero,
        default=TIMEOUT,
        metavar="SECONDS",
        help="for a connection, and for an answer (default: %(default)g)",
    )
    add("--json", action="store_true", help="print JSON")
    return add


# -- the commands ---------------------------------------------------------------------------------


def drain(fleet: Fleet, options: Options) -> int:
    """Drain all replicas."""
    by = caller() if options.by is None else options.by
    turned = fleet.drain(reason=options.reason, by=by, lease=options.lease)
    return tell(f"fleet {fleet.app}: draining", fleet.app, turned, options)


def undrain(fleet: Fleet, options: Options) -> int:
    """End the drain of all replicas."""
    turned = fleet.undrain()
    done = "serving" if turned.drain else "serving, as before"
    return tell(f"fleet {fleet.app}: {done}", fleet.app, turned._replace(drain=None), options)


def tell(text: str, app: str, turned: Turned, options: Options) -> int:
    """Print what a turn did."""
    if options.json:
        body = {"app": app, "draining": body_of(turned.drain), "told": turned.told}
        say(json.dumps(body), sys.stdout)
    else:
        say(f"{text}; pods told at once: {turned.told}", sys.stdout)
    return 0


def status(fleet: Fleet, options: Options) -> int:
    """Show the switch and every replica."""
    found = fleet.status()
    if options.json:
        say(json.dumps(status_body(found)), sys.stdout)
    else:
        say("\n".join(lines_of(found)), sys.stdout)
    return 0 if found.good else 1


COMMANDS: dict[str, Callable[[Fleet, Options], int]] = {
    "drain": drain,
    "undrain": undrain,
    "status": status,
}


# -- words ----------------------------------------------------------------------------------------


def body_of(drain: Drain | None) -> dict[str, Any] | None:
    """Return a drain as the services show theirs."""
    if drain is None:
        return None
    until = None if drain.until is None else moment(drain.until)
    return {
        "reason": drain.reason,
        "by": drain.by,
        "since": moment(drain.since),
        "until": until,
    }


def status_body(found: FleetStatus) -> dict[str, Any]:
    """Return an overview for scripts."""
    return found._asdict() | {
        "now": moment(found.now),
        "draining": body_of(found.draining),
        "replicas": [
            replica._asdict() | {"since": moment(replica.since)} for replica in found.replicas
        ],
    }


def lines_of(found: FleetStatus) -> Iterable[str]:
    """Yield an overview for people."""
    body = body_of(found.draining)
    first, *more = ["serving"] if body is None else drain_lines(body, found.now)
    yield f"fleet {found.app}: {first}"
    yield from (f"  {line}" for line in more)
    if found.percent is None:
        yield "no replica has said anything within the last hour"
    else:
        starting = f"{found.starting} starting, " if found.starting else ""
        yield (
            f"replicas: {found.total} total, {found.healthy} healthy, {starting}"
            f"{found.unhealthy} unhealthy ({found.percent:g} % healthy)"
        )
    if found.unreadable:
        yield f"and {found.unreadable} that another version of probekit has announced"
    if found.replicas:
        yield from table([COLUMNS, *map(row_of, found.replicas)])


def row_of(replica: Replica) -> tuple[str, ...]:
    """Return a replica's cells, in the order of `COLUMNS`."""
    return (
        shown(replica.id),
        replica.state,
        shown(replica.version) or "-",
        f"{replica.ready}/{replica.workers}",
        str(replica.requests),
        str(replica.websockets),
        str(replica.jobs),
        f"{span(replica.age)} ago",
    )


def table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Yield rows as lines, their cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def moment(seconds: float) -> str:
    """Return a moment as RFC 3339 in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
