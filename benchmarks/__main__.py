"""Measure and print: `python -m benchmarks [--json] [name ...]`; nothing is written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.alive import alive
from benchmarks.figures import table
from benchmarks.fleet import fleet
from benchmarks.hung import hung
from benchmarks.in_process import importing, many_checks, pass_through, worker_signs
from benchmarks.pod import pod
from benchmarks.requests import liveness, readiness
from benchmarks.servers import describe
from benchmarks.standstill import standstill
from benchmarks.watchdog import watchdog
from benchmarks.wsgi import flask

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Figure

BENCHMARKS: dict[str, Callable[[], list[Figure]]] = {
    "liveness": liveness,
    "readiness": readiness,
    "pass-through": pass_through,
    "many-checks": many_checks,
    "worker": worker_signs,
    "import": importing,
    "hung": hung,
    "fleet": fleet,
    "pod": pod,
    "watchdog": watchdog,
    "flask": flask,
    "alive": alive,
    "standstill": standstill,
}


def main() -> int:
    """Return 0 if every target is reached, and 1 if not."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    for name in arguments.names or BENCHMARKS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name]()
    if arguments.json:
        print(json.dumps([asdict(figure) | {"ok": figure.ok} for figure in figures], indent=2))
    else:
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {describe()}\n")
        print(table(figures))
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
