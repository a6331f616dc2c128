"""Where a thread stands, and which line of it the application has written."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Place", "blamed", "lines_of", "short"]

LIBRARIES = frozenset({"site-packages", "dist-packages"})
STANDARD = tuple(
    Path(path) for name in ("stdlib", "platstdlib") if (path := sysconfig.get_path(name))
)
OURS = Path(__file__).parents[2]

LOOPS = {
    "asyncio/base_events.py": frozenset({"_run_once", "run_forever", "run_until_complete"}),
    "asyncio/events.py": frozenset({"_run"}),
    "asyncio/runners.py": frozenset({"run"}),
    "trio/_core/_run.py": frozenset({"run", "unrolled_run"}),
    "uvloop/__init__.py": frozenset({"run"}),
}
"""The functions of event loops: what called them has no part in a task."""


class Place(NamedTuple):
    """A line that a thread stands in.

    Attributes:
        file: As the code has it.
        line: Counted from 1.
        function: Its name.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """Return what people look for."""
        return f"{short(self.file)}:{self.line} in {self.function}"

    @property
    def turns_a_loop(self) -> bool:
        """Whether this is the event loop itself."""
        parts = Path(self.file).parts
        return any(self.function in LOOPS.get("/".join(parts[-count:]), ()) for count in (2, 3))

    @property
    def foreign(self) -> int:
        """How far it is from the application: 0 its own, 1 a library, 2 Python or probekit."""
        path = Path(self.file)
        if self.file.startswith("<") or OURS in path.parents:
            return 2
        if not LIBRARIES.isdisjoint(path.parts):
            return 1
        return 2 if any(folder in path.parents for folder in STANDARD) else 0


def blamed(places: list[Place]) -> Place | None:
    """Return the place that says most, of a stack with the innermost first.

    The innermost that the application has written; if there is none, that a library has.
    """
    inside: list[Place] = []
    for place in places:
        if place.turns_a_loop:
            break
        inside.append(place)
    return min(inside or places, key=lambda place: place.foreign, default=None)


def lines_of(places: list[Place]) -> list[str]:
    """Return a stack as people read it: the innermost last, each with its text."""
    texts = ((place, linecache.getline(place.file, place.line).strip()) for place in places[::-1])
    return [f"  {place}: {text}" if text else f"  {place}" for place, text in texts]


def short(file: str) -> str:
    """Return the path without the folder that it was found in."""
    path, names = Path(file), [file]
    for folder in (*sys.path, ""):
        with suppress(OSError, ValueError):  # there is no current directory; it lies elsewhere
            root = Path(folder).absolute()
            if root != root.parent:
                names.append(str(path.relative_to(root)))
    return min(names, key=len)
