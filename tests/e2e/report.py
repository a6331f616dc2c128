"""Restart each server while it is under load, and print what came of it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

from .balancers import BALANCERS, absent
from .cells import CELLS
from .rolling import Plan, run

if TYPE_CHECKING:
    from .rolling import Result

COLUMNS = {
    "server, mode": 31,
    "runs": 4,
    "signals": 7,
    "requests": 8,
    "failed": 6,
    "slow cut": 8,
    "503 after": 11,
    "lifespan": 8,
    "exit": 4,
    "left after": 11,
    "hung": 4,
    "orphans": 7,
}
"""The widths by the headings; the lifespan is of the worst restart, all else of all runs."""

EPILOG = """
A row is clean if no request failed, readiness was 503 in every worker within 50 ms beside what the
server itself needs to pass the signal on (within a second in the worse half of a run's restarts,
for the machine may be busy), every worker's lifespan was shut down, and the server left with its
own exit status and nothing behind. "hung" counts restarts, "orphans" processes. The exit status is
1 if a row is not clean; with --plain, where nothing is expected, always 0.
"""


def row(name: str, results: list[Result]) -> list[str]:
    """Return what the columns hold."""
    departures = [departure for result in results for departure in result.departures]
    failures = [failure for result in results for failure in result.failures]
    known = [each.unready for each in departures if each.unready is not None]
    unready = "never"
    if len(known) == len(departures):
        unready = f"{min(known) * 1000:.0f}-{max(known) * 1000:.0f} ms"
    worst = min(departures, key=lambda each: each.stopped - each.started)
    took = [each.seconds for each in departures]
    statuses = {"-" if each.status is None else str(each.status) for each in departures}
    return [
        name,
        str(len(results)),
        str(len(departures)),
        str(sum(result.ok for result in results) + len(failures)),
        str(len(failures)),
        str(sum(failure.cut for failure in failures)),
        unready,
        f"{worst.stopped}/{worst.started}" if CELLS[name].workers else "none",
        ",".join(sorted(statuses)),
        f"{min(took):.1f}-{max(took):.1f} s",
        str(sum(each.status is None for each in departures)),
        str(sum(each.orphans for each in departures)),
    ]


def say(*cells: str, last: str = "") -> None:
    """Print a row of the table."""
    padded = [cell.ljust(width) for cell, width in zip(cells, COLUMNS.values(), strict=True)]
    sys.stdout.write(f"| {' | '.join(padded)} | {last}".rstrip() + "\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="scripts/rolling", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("cells", nargs="*", metavar="server/mode", help="by default those that CI runs")
    add("--list", action="store_true", help="print the names of all, and end")
    add("--all", action="store_true", help="try all")
    add("--plain", action="store_true", help="for comparison, drain for 0 s: as without probekit")
    add("--delay", type=float, metavar="S", help="drain for so many seconds, by default 1.5")
    add("--balancer", choices=BALANCERS, default="envoy")
    add("--group", action="store_true", help="signal the whole process group, as systemd does")
    add("--twice", action="store_true", help="signal again 1.5 s later; drains for 4 s")
    add("--soak", type=int, default=0, metavar="N", help="N signals to one instance")
    add("--runs", type=int, default=1, metavar="N", help="play each N times")
    add("--verbose", action="store_true", help="print the log of what went wrong")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cells if name not in CELLS]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(CELLS)}")
    if asked.soak < 0 or asked.runs < 1 or (asked.delay or 0) < 0:
        parser.error("--soak, --runs and --delay take positive numbers")
    if asked.plain and asked.delay:
        parser.error("--plain is a --delay of 0")
    if remedy := absent(asked.balancer):
        parser.error(remedy)
    if asked.plain:
        asked.delay = 0.0
    elif asked.delay is None:
        asked.delay = 4.0 if asked.twice else 1.5
    return asked


def play(name: str, plan: Plan, runs: int, *, verbose: bool) -> bool:
    """Print the row of a server that is restarted so many times; return whether it is clean."""
    results, wrong = [], Counter[str]()
    for _ in range(runs):
        try:
            results.append(run(name, plan))
        except (TimeoutError, RuntimeError) as error:  # it did not start, or did not come back
            wrong[str(error)] += 1
    for result in results:
        wrong.update(result.complaints() if plan.delay else [])
    reasons = sum((result.reasons for result in results), Counter[str]())
    remarks = [f"{count} x {reason}" for reason, count in reasons.most_common()]
    told = [f"{line} ({count} x)" if count > 1 else line for line, count in wrong.items()]
    cells = row(name, results) if results else [name, *[""] * (len(COLUMNS) - 1)]
    say(*cells, last="; ".join([*told, *remarks]))
    hurried = len(results) == runs and plan.delay and CELLS[name].hurried
    if hurried:
        sys.stdout.write(f"  as expected: {hurried}\n")
    for departure in [each for result in results for each in result.departures]:
        if verbose and (wrong or remarks):
            sys.stdout.write(f"{departure}\n{departure.log}\n")
    return not wrong or bool(hurried)


def main() -> int:
    """Return 0 if all rows are clean, and 1 if not."""
    asked = arguments()
    if asked.list:
        sys.stdout.write("".join(f"{name}{'  (CI)' * cell.ci}\n" for name, cell in CELLS.items()))
        return 0
    plan = Plan(
        balancer=asked.balancer,
        delay=asked.delay,
        soak=asked.soak,
        group=asked.group,
        twice=asked.twice,
    )
    names = asked.cells or [name for name, cell in CELLS.items() if cell.ci or asked.all]
    say(*COLUMNS)
    say(*["-" * width for width in COLUMNS.values()])
    clean = [play(name, plan, asked.runs, verbose=asked.verbose) for name in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
