"""The timeline: when, what, and how it was answered."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Answer

__all__ = ["Narrator"]

GREEN, RED, BLUE, BOLD, DIM = "32", "31", "36", "1", "2"
GLYPHS = {"good": "●", "bad": "○", "act": "▶", "note": "·", "done": "✓", "wrong": "✗"}
PLAIN = {"good": "+", "bad": "-", "act": ">", "note": ".", "done": "=", "wrong": "!"}


class Narrator:
    """Writes the timeline to standard output; in colour if that is a terminal."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        try:
            "".join(GLYPHS.values()).encode(sys.stdout.encoding)
            self._glyphs = GLYPHS
        except UnicodeEncodeError:
            self._glyphs = PLAIN

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def title(self, text: str) -> None:
        """Write what the whole is about."""
        self._write(self._paint(BOLD, text))

    def chapter(self, name: str, text: str) -> None:
        """Begin a part of the story."""
        self._write(f"\n{self._paint(BOLD, name)}  {self._paint(DIM, text)}")

    def act(self, text: str) -> None:
        """Tell what the demo does to the server."""
        self._line("act", BLUE, text)

    def note(self, text: str) -> None:
        """Tell what follows from it."""
        self._line("note", DIM, text)

    def answer(self, answer: Answer, text: str | None = None) -> None:
        """Tell what the server said; by default in its own words."""
        good = answer.status < 400
        asked = f"{answer.method} {answer.path}"
        closes = self._paint(DIM, "  Connection: close") if answer.closes else ""
        told, *more = gist(answer.body) if text is None else [text]
        self._line(
            "good" if good else "bad",
            GREEN if good else RED,
            f"{asked:<23} {answer.status}  {told}{closes}",
        )
        for line in more:
            self._write(" " * 40 + line)

    def done(self, text: str) -> None:
        """Tell the good end."""
        self._line("done", GREEN, text)

    def wrong(self, text: str) -> None:
        """Tell the bad end."""
        self._line("wrong", RED, text)

    def log(self, lines: str) -> None:
        """Write the end of the server's log."""
        self._write(f"\n{self._paint(BOLD, 'The server said')}\n{lines}")

    def _line(self, glyph: str, colour: str, text: str) -> None:
        mark = self._paint(colour, self._glyphs[glyph])
        when = self._paint(DIM, f"{self.elapsed:5.1f} s")
        self._write(f"{when}  {mark} {text}")

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def gist(body: Any) -> list[str]:
    """Return what a person wants to know of a probe's answer, a line for each thing."""
    if drain := body.get("draining"):
        by = f" by {drain['by']}" if drain["by"] else ""
        return [f"draining{by}: {drain['reason']}"]
    told = [body["message"]] if "message" in body else []
    told += [
        f"{name}{'' if check['critical'] else ' (not critical)'}: {check['message']}"
        for name, check in body["checks"].items()
        if check["status"] != "healthy"
    ]
    return told or [body["status"]]
