"""Where workers are born that die young: a process that has all imports behind it, and forks.

Two hundred interpreters that each import redis-py would take most of a test's time. A child does
what ``python -m examples.worker`` does, from its own environment and with its own modules.

It reads a line of JSON and answers with one: ``{"log": ..., "environ": ...}`` starts a worker and
tells its process id; a process id is answered with its exit status, or null while it runs.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from importlib import import_module

PRELOADED = [
    "anyio._backends._asyncio",
    "probekit._lifecycle.options",
    "probekit._lifecycle.service",
    "probekit._web.serving",
    "probekit.checks.redis",
    "probekit.checks.worker",
    "probekit.observers",
]
"""What a worker imports sooner or later, and what that imports."""


def bear(log: str, environ: dict[str, str]) -> int:
    """Start a worker and return its process id."""
    if child := os.fork():
        return child
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environ)
    sys.argv = ["examples.worker"]
    status = 1
    try:
        runpy.run_module("examples.worker", run_name="__main__")
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def status_of(child: int) -> int | None:
    """Return the exit status of a child, negative for a signal, or None while it runs."""
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def main() -> None:
    """Bear workers until nobody asks for any more; those left over end with this process."""
    running: set[int] = set()
    for module in PRELOADED:
        import_module(module)
    for line in sys.stdin:
        wanted = json.loads(line)
        if isinstance(wanted, dict):
            child = bear(wanted["log"], wanted["environ"])
            running.add(child)
            answer: int | None = child
        else:
            answer = status_of(wanted)
            if answer is not None:
                running.remove(wanted)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    for child in running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
