"""Which workers of the pods of this machine stand still, and why."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from probekit._alive.process import STARVED, cause_of, sample, wants_cpu
from probekit._lifecycle.pod import files
from probekit._lifecycle.pod.find import living_pods
from probekit._lifecycle.pod.lines import GRACE, line_of, prefix_of, stems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from probekit._alive.process import Sample
    from probekit._lifecycle.pod.lines import Stem
    from probekit._lifecycle.pod.records import Worker

__all__ = ["Judgement", "Verdict", "judge", "workers_in"]

LOOK = 0.2
"""Seconds for which a process is looked at that says nothing."""

LOOKS = 10
"""How often in that time. One that is blocked wakes for a moment now and then, to ask for the GIL,
and where CPUs are scarce that moment is long."""

AHEAD = 1.0
"""Seconds by which a worker's clock may seem to go before ours; both are the machine's."""


State: TypeAlias = Literal["alive", "starved", "not judged", "stuck"]


class Verdict(NamedTuple):
    """How one worker is.

    Attributes:
        app: Its application, as files are called.
        pid: Its process.
        state: Of these, ``"stuck"`` alone is not alive.
        text: How it is, in a few words.
    """

    app: str
    pid: int
    state: State
    text: str

    @property
    def alive(self) -> bool:
        """Whether it moves, or nobody can tell."""
        return self.state != "stuck"

    def __str__(self) -> str:
        """Say it in a line."""
        return f"worker {self.pid} of {self.app}: {self.state}, {self.text}"


class Judgement(NamedTuple):
    """How all are.

    Attributes:
        alive: Whether there are workers, and none of them certainly stands still.
        message: The same in a line.
        workers: How each is.
        passed_over: What might have been a pod and is none, and why.
    """

    alive: bool
    message: str
    workers: tuple[Verdict, ...] = ()
    passed_over: tuple[str, ...] = ()


class Suspect(NamedTuple):
    """A worker that lives, or may.

    Attributes:
        directory: Where its line is.
        stem: What the names of its files begin with.
        line: What it last said; None if nothing.
        unread: Why its line could not be read; empty if it could.
        overdue: Whether it says that it is stuck, or says nothing.
        before: Its process, if it is overdue and there still is one.
    """

    directory: int
    stem: Stem
    line: Worker | None = None
    unread: str = ""
    overdue: bool = False
    before: Sample | None = None

    def verdict(self, state: State, text: str) -> Verdict:
        """Return what is said of it."""
        return Verdict(self.stem.prefix, self.stem.pid, state, text)


def judge(environment: Mapping[str, str], *, app: str | None = None) -> Judgement:
    """Look at the workers of all pods that this user has here.

    It takes a millisecond if all have said something lately, else `LOOK`.

    Args:
        environment: Where the pods are looked for.
        app: The name of the application that is meant; None: whichever there are.

    Raises:
        OSError: If this system has no /proc that tells.
    """
    with living_pods(environment) as pods:
        passed_over = tuple(pods.passed_over)
        suspects: list[Suspect] = []
        for directory in pods.directories.values():
            suspects += workers_in(directory)
        apps = {suspect.stem.prefix for suspect in suspects}
        meant = [each for each in suspects if app is None or each.stem.prefix == prefix_of(app)]
        verdicts = tuple(verdicts_on(meant))
    if verdicts:
        return Judgement(all(each.alive for each in verdicts), summary(verdicts), verdicts)
    return Judgement(False, missing(app, apps, pods.directories), (), passed_over)


def workers_in(directory: int) -> Iterator[Suspect]:
    """Yield the workers of a pod whose lock is held, in the order of their ids."""
    with suppress(FileNotFoundError):  # somebody has just removed the directory
        for stem in sorted(stems(directory)):
            if files.is_locked(directory, stem.lock):
                yield look(directory, stem)


def look(directory: int, stem: Stem) -> Suspect:
    """Read a worker's line."""
    try:
        return Suspect(directory, stem, line_of(directory, stem))
    except files.ForeignError as error:
        return Suspect(directory, stem, unread=str(error))
    except OSError as error:
        return Suspect(directory, stem, unread=f"{stem.line}: {error.strerror}")


def verdicts_on(suspects: list[Suspect]) -> Iterator[Verdict]:
    """Yield how each worker is, but for those whose process is no more."""
    looked = [first_look(suspect) for suspect in suspects]
    waiting = {each.stem.pid for each in looked if each.before is not None}
    for _ in range(LOOKS if waiting else 0):
        time.sleep(LOOK / LOOKS)
        waiting = {pid for pid in waiting if wants_cpu(pid)}
    for suspect in looked:
        waits = suspect.stem.pid in waiting
        verdict = second_look(suspect, waits=waits) if suspect.overdue else verdict_on(suspect)
        if verdict is not None:
            yield verdict


def first_look(suspect: Suspect) -> Suspect:
    """Look at a worker's process, if it has not said lately that all is well."""
    line = suspect.line
    if line is None or not line.stuck_after or silence(line) < -AHEAD:
        return suspect
    # A little early, so that the second look comes just when the time is up.
    if not line.stuck and silence(line) <= line.stuck_after + GRACE - LOOK:
        return suspect
    before = sample(suspect.stem.pid)
    if before is not None and before.started > line.at + AHEAD:
        before = None  # it is younger than the line, and has the id of the one that wrote it
    return suspect._replace(overdue=True, before=before)


def verdict_on(suspect: Suspect) -> Verdict:
    """Return how a worker is that is not overdue."""
    line = suspect.line
    if line is None:
        return suspect.verdict("not judged", suspect.unread or "it has not said anything yet")
    if not line.stuck_after:
        return suspect.verdict("not judged", "nobody watches it: its stuck_after is None")
    if silence(line) < -AHEAD:
        return suspect.verdict("not judged", "its line is of a moment to come")
    return suspect.verdict("alive", f"said so {max(silence(line), 0.0):.1f} s ago")


def second_look(suspect: Suspect, *, waits: bool) -> Verdict | None:
    """Return how a worker is that was overdue a moment ago; None if its process is no more."""
    after = None if suspect.before is None else sample(suspect.stem.pid)
    if suspect.before is None or after is None:
        return None
    renewed = look(suspect.directory, suspect.stem)
    line = renewed.line
    if line is None:
        return verdict_on(renewed)
    if line.stuck:
        return suspect.verdict("stuck", f"for more than {line.stuck_after:g} s: {line.stuck}")
    quiet = silence(line)
    if quiet <= line.stuck_after + GRACE:
        return verdict_on(renewed)
    cause = cause_of(after, line, waits=waits)
    text = f"no sign of life for {quiet:.1f} s, of {line.stuck_after:g} s allowed: {cause}"
    return suspect.verdict("starved" if cause == STARVED else "stuck", text)


def silence(line: Worker) -> float:
    """Return the seconds since a worker's last sign of life."""
    return time.monotonic() - line.at


def summary(verdicts: tuple[Verdict, ...]) -> str:
    """Return all verdicts in a line."""
    stuck = [each for each in verdicts if not each.alive]
    if stuck:
        more = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
        return f"{len(stuck)} of {len(verdicts)} workers stuck: {stuck[0]}{more}"
    unjudged = sum(each.state == "not judged" for each in verdicts)
    if unjudged == len(verdicts):
        return f"none is known to be stuck, {unjudged} of {unjudged} workers not judged"
    left_out = f", {unjudged} not judged" if unjudged else ""
    return f"{len(verdicts) - unjudged} of {len(verdicts)} workers alive{left_out}"


def missing(app: str | None, apps: set[str], directories: Mapping[str, int]) -> str:
    """Say in a line that there is nobody to judge, and what may be done."""
    if app is not None and apps:
        others = ", ".join(sorted(apps))
        return f"no worker here belongs to an application named {app!r}; there are: {others}"
    if directories:
        return (
            f"no worker of the pod at {', '.join(directories)} has said anything: it has not "
            "started yet, or (WSGI) answered no request yet; let a startupProbe wait for it"
        )
    return (
        "no pod of probekit is running here; is the service up, and is this the same user, the "
        "same process namespace (container) and the same PROBEKIT_RUNTIME_DIR? its /admin/drain "
        "must not show the scope 'process'"
    )
