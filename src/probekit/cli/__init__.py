"""The command ``probekit``: turn and read a service's drain, and tell whether it moves.

A preStop hook waits for this to start, so it imports the standard library only, and little of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130
"""What a shell makes of a command that Ctrl-C ended: 128 + SIGINT."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments after the command's name, or None for those of this process.

    Returns:
        0: done. 1: the service answered, but not as wished. 2: it could not be asked. 130: Ctrl-C.

    Raises:
        SystemExit: After ``--help`` or ``--version``, with 0, or for a wrong option, with 2.
    """
    words = sys.argv[1:] if argv is None else [*argv]
    if words[:1] == ["fleet"]:
        from probekit.cli._fleet import fleet  # which needs Redis's client, unlike a preStop hook

        return fleet(words[1:])
    if words[:1] == ["alive"]:
        from probekit.cli._alive import alive  # which loads less, and runs more often

        return alive(words[1:])
    return ask(words)


def ask(words: Sequence[str]) -> int:
    """Run a command that asks the service, and return its exit code."""
    from probekit.cli._arguments import parse
    from probekit.cli._client import Client
    from probekit.cli._drain import COMMANDS
    from probekit.cli._failures import Failure
    from probekit.cli._text import say

    options = parse(words)
    try:
        client = Client(
            options.endpoint,
            token=options.token,
            connect_timeout=options.connect_timeout,
            timeout=options.timeout,
        )
        return COMMANDS[options.command](client, options)
    except Failure as failure:
        say(f"probekit {options.command}: {failure}", sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
