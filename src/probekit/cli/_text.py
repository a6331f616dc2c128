"""Words for people, and how they reach a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probekit.cli._state import State

__all__ = ["counted", "describe", "drain_lines", "say", "shown", "span"]

LONGEST = 500


def say(text: str, stream: TextIO | None) -> None:
    """Print a line, if anybody listens: what counts is the exit code.

    Args:
        text: The line. What the stream cannot encode is escaped.
        stream: ``sys.stdout`` or ``sys.stderr``, which are None where they were closed.
    """
    if stream is None:
        return
    encoding = stream.encoding or "ascii"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except OSError:
        # Python flushes once more at exit, and would complain and change the exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shown(text: str) -> str:
    """Return what somebody else wrote as one line, not too long, without control characters."""
    return (text if text.isprintable() else ascii(text)[1:-1])[:LONGEST]


def span(seconds: float) -> str:
    """Return a length of time in the two largest units that it has."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(counts: Mapping[str, int]) -> str:
    """Return what is in flight, such as ``requests 2, websockets 0``."""
    return ", ".join(f"{shown(kind)} {count}" for kind, count in counts.items()) or "nothing"


def describe(state: State, now: float) -> str:
    """Return a state in a few lines.

    Args:
        state: What the service answered.
        now: The time of day, in seconds since the epoch.
    """
    lines = ["serving"] if state.draining is None else drain_lines(state.draining, now)
    lines.append(f"in flight: {counted(state.in_flight)}")
    if state.last_request is not None:
        lines.append(f"last request: {state.last_request:.1f} s ago")
    if state.seen_503 is not None:
        lines.append(f"seen 503: {state.seen_503}")
    if state.scope:
        reason = f" ({state.scope_reason})" if state.scope_reason else ""
        lines.append(f"scope: {state.scope}{reason}")
    if len(state.workers) > 1 or any(worker.get("stuck") for worker in state.workers):
        lines += map(worker_line, state.workers)
    lines.append(f"sigterm: {state.sigterm}")
    lines.append(f"drain_delay: {state.drain_delay:g} s")
    return "\n  ".join(lines)


def drain_lines(drain: Mapping[str, object], now: float) -> list[str]:
    """Return a drain in a few lines."""
    since = moment(drain.get("since"))
    first = "draining" if since is None else f"draining for {span(max(now - since, 0))}"
    lines = [first + ("; the process is leaving" if drain.get("final") else "")]
    told = {name: drain.get(name) for name in ("reason", "by", "since")}
    lines += [f"{name}: {shown(str(value))}" for name, value in told.items() if value]
    if (until := moment(drain.get("until"))) is not None:
        left = span(max(until - now, 0))
        lines.append(f"lease: {left} left, until {shown(str(drain['until']))}")
    return lines


def worker_line(worker: Mapping[str, object]) -> str:
    """Return a worker in one line; a question mark stands for what it does not say."""

    def said(name: str) -> str:
        return shown(str(worker.get(name, "?")))

    words = {"True": "ready", "False": "not ready", "None": "starting"}
    parts = [words.get(said("ready"), "?")]
    if worker.get("draining") is True:
        parts.append("draining")
    parts += [
        f"{kind} {said(kind)}" for kind in ("requests", "websockets", "jobs") if kind in worker
    ]
    parts += [f"loop {said('loop_lag')} s late", f"said {said('age')} s ago"]
    stuck = f"; stuck: {said('stuck')}" if worker.get("stuck") else ""
    return f"worker {said('pid')}: {', '.join(parts)}{stuck}"


def moment(text: object) -> float | None:
    """Return a moment such as ``2026-11-21T03:25:34Z`` in seconds since the epoch, or None."""
    from datetime import UTC, datetime  # which no command needs that has no drain to show

    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
