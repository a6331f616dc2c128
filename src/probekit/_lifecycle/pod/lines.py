"""The workers' lines in the directory of a pod, for those who read them."""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from probekit._lifecycle.pod import files
from probekit._lifecycle.pod.records import Worker, worker_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GRACE", "Stem", "beat", "line_of", "prefix_of", "stems"]

GRACE = 0.3
"""Seconds beyond its threshold for which a worker may say nothing: it beats four times a second."""


class Stem(NamedTuple):
    """What the names of a worker's two files begin with.

    Attributes:
        prefix: The application's part.
        pid: The worker's process.
    """

    prefix: str
    pid: int

    def __str__(self) -> str:
        """Return the beginning itself."""
        return f"{self.prefix}.{self.pid}"

    @property
    def lock(self) -> str:
        """The file that is locked as long as the worker lives."""
        return f"{self}.lock"

    @property
    def line(self) -> str:
        """The file in which it says how it is."""
        return f"{self}.worker"


def prefix_of(name: str) -> str:
    """Return ``name`` as the beginning of names of files, and that of no other application."""
    slug = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
    return slug if slug == name else f"{slug}-{zlib.crc32(name.encode()):08x}"


def stems(directory: int) -> Iterator[Stem]:
    """Yield what the names of the files of each worker begin with, of those that live and others.

    Raises:
        OSError: If the directory cannot be looked at.
    """
    for name in os.listdir(directory):
        prefix, _, pid = name.removesuffix(".lock").rpartition(".")
        if name.endswith(".lock") and prefix and pid.isdecimal():
            yield Stem(prefix, int(pid))


def line_of(directory: int, stem: Stem) -> Worker | None:
    """Return what a worker last said of itself; None if it has not said anything yet.

    Raises:
        ForeignError: If probekit of this version has not written it.
        OSError: If it cannot be read.
    """
    content = files.read(directory, stem.line)
    if content is None:
        return None
    worker = worker_of(content)
    if worker.pid != stem.pid:
        raise files.ForeignError(f"{stem.line} speaks of process {worker.pid}")
    return worker._replace(at=max(worker.at, last_beat(directory, stem)))


def beat(lock: int, now: float) -> None:
    """Give a sign of life that needs no room on the disk: the lock bears its moment as its time.

    Args:
        lock: The descriptor that holds the worker's lock.
        now: Monotonic seconds of the machine, which no clock that is set can change.
    """
    moment = int(now * 1e9)
    with suppress(OSError):  # the line itself is tried next, and complains
        os.utime(lock, ns=(moment, moment))


def last_beat(directory: int, stem: Stem) -> float:
    """Return the moment that the lock bears; 0.0 if the worker never gave it one."""
    try:
        moment = os.stat(stem.lock, dir_fd=directory, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0
    # Until the first beat it is the time of day at which the file was made.
    return moment if moment < TIMES_OF_DAY else 0.0


TIMES_OF_DAY = 1e9
"""Seconds since the epoch, in 2001: no machine has run for so long."""
