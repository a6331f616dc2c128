"""What ``probekit alive`` does: say whether the workers beside it move.

The platform runs it every few seconds, so it loads as little as can be.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from probekit.cli._text import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["alive"]

EPILOG = """\
exit codes:
    0  alive: every worker moves, or is starved of CPU, or could not be judged
    1  not alive: a worker is stuck, or there is none
    2  the command line is wrong, or this is not Linux
  130  Ctrl-C (--port: 0)

As a livenessProbe: `exec` with the command python -I -m probekit alive --pod.
"""
INTERRUPTED = 130


def alive(argv: Sequence[str]) -> int:
    """Run ``probekit alive`` and return its exit code.

    Args:
        argv: The arguments after ``alive``.

    Returns:
        0: alive, or a signal has ended what ``--port`` serves. 1: not alive. 2: it could not be
        told. 130: Ctrl-C.

    Raises:
        SystemExit: After ``--help``, with 0, and for a wrong option, with 2.
    """
    # argparse takes as long to load as all that is judged.
    app, port, host = (None, None, "") if list(argv) == ["--pod"] else parse(argv)
    if sys.platform != "linux":
        return cannot("only Linux tells how other processes are; ask the service's /healthz")
    try:
        return look(app) if port is None else serve(app, host, port)
    except OSError as error:
        return cannot(f"/proc does not tell how the processes are: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED


def look(app: str | None) -> int:
    """Print how each worker is, and a verdict."""
    from probekit._alive.judge import judge

    judgement = judge(os.environ, app=app)
    for verdict in judgement.workers:
        say(str(verdict), sys.stdout)
    for line in judgement.passed_over:
        say(f"passed over: {line}", sys.stdout)
    say(f"{'alive' if judgement.alive else 'not alive'}: {judgement.message}", sys.stdout)
    return 0 if judgement.alive else 1


def serve(app: str | None, host: str, port: int) -> int:
    """Serve the verdict until SIGTERM or SIGINT."""
    import asyncio
    from socket import gaierror

    from probekit._alive.page import Page, listen, serve

    def tell(line: str) -> None:
        say(f"probekit alive: {line}", sys.stderr)

    try:
        listener = listen(host, port)
    except OSError as error:
        known = not isinstance(error, gaierror)
        reason = os.strerror(error.errno or 0) if known else error.strerror
        return cannot(
            f"cannot listen on --host {host} --port {port}: {reason}; give an IP address "
            "of this machine, and a port that is free and, unless this is root, above 1023"
        )
    asyncio.run(serve(listener, Page(os.environ, app=app, tell=tell)))
    return 0


def cannot(text: str) -> int:
    """Say why nothing can be told."""
    say(f"probekit alive: {text}", sys.stderr)
    return 2


# -- the command line -----------------------------------------------------------------------------


def parse(argv: Sequence[str]) -> tuple[str | None, int | None, str]:
    """Return the application, the port (None: look once), and the host.

    Raises:
        SystemExit: After the help, with 0, or for what makes no sense, with 2.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="probekit alive",
        description="Say whether the workers that run beside this process move, or are stuck.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--pod", action="store_true", help="look once at the workers of every server that is here")
    add("--port", type=port_of, metavar="PORT", help="serve /healthz until SIGTERM; 0: any port")
    add("--host", metavar="IP", help="with --port: listen there (default: 0.0.0.0)")
    add("--app", metavar="NAME", help="look at the application of this name alone (default: all)")
    given = parser.parse_args(argv)
    complain(parser, given)
    # Whoever asks is the platform, from outside the container.
    return given.app, given.port, given.host or "0.0.0.0"  # noqa: S104 - see above


def complain(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Refuse what contradicts itself."""
    if given.pod == (given.port is not None):
        parser.error("give either --pod, to look once, or --port PORT, to serve /healthz")
    if given.host is not None and given.port is None:
        parser.error("--host means nothing without --port: add that")
    if given.app == "":
        parser.error("--app '' names no application: give the name of a Probes, or leave it out")


def port_of(text: str) -> int:
    """Return a port's number."""
    if text.isascii() and text.isdecimal() and int(text) < 65_536:
        return int(text)
    from argparse import ArgumentTypeError

    raise ArgumentTypeError(f"must be a port from 0 to 65535, got {text!r}")
