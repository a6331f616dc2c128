"""Signal real servers at awkward moments, as often as wanted, and print what came of it."""

from __future__ import annotations

import argparse
import sys
from statistics import median_low

from .cells import CELLS
from .moments import MOMENTS
from .stages import ON, play
from .verdicts import complaints, tardy

EPILOG = """
A run is ok if the server drained and served as it should, left with its own exit status and nothing
behind, and ended its lifespans; where nothing drains, if it did as the bare application does. Where
the last signal must not wait, the middle of the runs may take half a second more than the bare
application. The exit status is 1 if something was wrong.
"""


def main() -> int:
    """Print a line for each moment and server; return 0 if all went well, and 1 if not."""
    parser = argparse.ArgumentParser(prog="scripts/moments", description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("moments", nargs="*", metavar="moment", help="by default all")
    add("--list", action="store_true", help="print what the moments are, and where they are played")
    add("--on", nargs="+", metavar="server", default=ON, help=f"by default {', '.join(ON)}")
    add("--runs", type=int, default=1, metavar="N", help="play each N times")
    add("--verbose", action="store_true", help="print the log of what went wrong")
    asked = parser.parse_args()
    if unknown := ({*asked.moments} - {*MOMENTS}) | ({*asked.on} - {*CELLS}):
        parser.error(f"no {', '.join(sorted(unknown))}")
    if asked.runs < 1:
        parser.error("--runs takes a positive number")
    if asked.list:
        for name, moment in MOMENTS.items():
            say(f"{name:13} {moment.says}; on {', '.join(moment.cells)}")
        return 0
    clean = True
    for name in asked.moments or MOMENTS:
        for cell in asked.on:
            if cell in MOMENTS[name].cells:
                clean &= repeat(name, cell, asked.runs, verbose=asked.verbose)
    return 0 if clean else 1


def repeat(name: str, cell: str, runs: int, *, verbose: bool) -> bool:
    """Play a moment so many times, and print a line; return whether all went well."""
    outcomes = [play(MOMENTS[name], cell) for _ in range(runs)]
    bad = [(found, each) for each in outcomes if (found := complaints(name, cell, each))]
    took = [each.seconds for each in outcomes]
    since = [each.since for each in outcomes]
    late = tardy(name, cell, median_low(since))
    hung = sum(found != [] and each.status is None for found, each in bad)
    orphans = sum(each.orphans > 0 for each in outcomes)
    alike = sum(each.status is None for each in outcomes) - hung
    remark = f"; {alike} had to be killed, as without probekit" if alike else ""
    say(
        f"{name:13} {cell:27} {runs:4} runs {runs - len(bad):4} ok {hung:3} hung "
        f"{orphans:3} orphans {len(bad):3} wrong  left after {min(took):.2f}-{max(took):.2f} s, "
        f"{median_low(since):.2f} (at most {max(since):.2f}) s after the last signal{remark}"
    )
    for line in late:
        say(f"    {line}")
    for found, each in bad:
        say(f"    {'; '.join(found)}" + (f"\n{each}\n{each.log}" if verbose else ""))
    return not (bad or late)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
