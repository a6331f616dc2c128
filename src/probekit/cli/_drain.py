"""What ``probekit drain``, ``probekit undrain`` and ``probekit status`` do."""

from __future__ import annotations

import getpass
import socket
import sys
import time
from typing import TYPE_CHECKING

from probekit.cli._state import problem_of, state_of
from probekit.cli._text import describe, say
from probekit.cli._waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probekit.cli._arguments import Options
    from probekit.cli._client import Client
    from probekit.cli._state import State

__all__ = ["COMMANDS", "caller"]

NAMELESS = "probekit drain"
LONGEST_NAME = 200
"""Characters that the service takes."""


def drain(client: Client, options: Options) -> int:
    """Begin the drain; with ``--wait``, return when the traffic has gone."""
    by = caller() if options.by is None else options.by
    given = {"reason": options.reason, "by": by, "lease": options.lease}
    answer = client.ask("POST", {name: value for name, value in given.items() if value is not None})
    if answer.status == 409:  # SIGTERM was faster: it drains, as wished
        text = answer.text if options.json else problem_of(answer)
    else:
        text = text_of(state_of(answer, client), options)
    if options.wait:
        text = wait_for(client, options)
    say(text, sys.stdout)
    return 0


def wait_for(client: Client, options: Options) -> str:
    """Return what to say when the traffic has gone."""
    state, seconds = wait(
        lambda within: state_of(client.ask("GET", within=within), client),
        delay=options.delay,
        limit=options.wait_timeout,
        clock=time,
        tell=lambda line: say(f"probekit drain: {line}", sys.stderr),
    )
    return state.raw if options.json else f"drained: the traffic has gone, after {seconds:.1f} s"


def undrain(client: Client, options: Options) -> int:
    """End the drain."""
    say(text_of(state_of(client.ask("DELETE"), client), options), sys.stdout)
    return 0


def status(client: Client, options: Options) -> int:
    """Show the drain and what is in flight."""
    state = state_of(client.ask("GET"), client)
    say(text_of(state, options), sys.stdout)
    return 0 if state.draining is None else 1


COMMANDS: Mapping[str, Callable[[Client, Options], int]] = {
    "drain": drain,
    "undrain": undrain,
    "status": status,
}
"""The commands by name; each returns the exit code, or raises a `Failure`."""


def text_of(state: State, options: Options) -> str:
    """Return a state in the form that was asked for."""
    return state.raw if options.json else describe(state, time.time())


def caller() -> str:
    """Return who calls this, as ``user@host``; a user of a container often has no name."""
    try:
        name = f"{getpass.getuser()}@{socket.gethostname()}"
    except (ImportError, KeyError, OSError):
        return NAMELESS
    return name if name.isprintable() and len(name) <= LONGEST_NAME else NAMELESS
