"""The state that the workers of one server share, and each worker's line in it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from probekit._core.forked import renew_when_forked
from probekit._lifecycle.pod import files
from probekit._lifecycle.pod.lines import Stem, beat, line_of, prefix_of, stems
from probekit._lifecycle.pod.master import find_key, find_scope
from probekit._lifecycle.pod.records import (
    Shared,
    Worker,
    shared_content,
    shared_of,
    worker_content,
)
from probekit._lifecycle.pod.startup import Passed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["Pod", "Shared", "Worker", "application"]

logger = logging.getLogger("probekit")


class Pod:
    """The shared state of one application in all workers of a server.

    Opened when it is first needed, never when it is made: the application may be loaded in a
    process that is forked into workers afterwards. Whatever goes wrong with it is logged once, and
    the process goes on by itself.

    Args:
        name: The application's, which tells several in one process apart.
        environment: Where directory and scope are looked for.
    """

    def __init__(self, *, name: str, environment: Mapping[str, str]) -> None:
        self._prefix = prefix_of(name)
        self._environment = environment
        self._lock = threading.RLock()
        renew_when_forked(self)
        self._complaints: set[str] = set()
        self._scope = find_scope(environment)
        self._last: dict[str, Shared | None] = {}
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._directory: int | None = None
        self._presence: int | None = None
        self._tried = False
        self._made = False
        self._unwritten: set[str] = set()
        self._passed = Passed(f"{self._prefix}.started")
        self.path: str | None = None
        self.obstacle: str | None = None
        self._records = {
            name: files.Watched(f"{self._prefix}.{name}.json") for name in ("drain", "fleet")
        }
        self._marks = {
            name: files.Watched(f"{self._prefix}.{name}.waits") for name in self._records
        }

    @property
    def scope(self) -> str:
        """How far a drain reaches: ``"pod"``, ``"container"``, or this ``"process"`` alone."""
        return "process" if self._open() is None or self._unwritten else self._scope

    @property
    def directory(self) -> int | None:
        """The descriptor of what the workers share, or None; what closes it is `leave`."""
        return self._open()

    @property
    def name(self) -> str:
        """The application's, as files are called."""
        return self._prefix

    @property
    def key(self) -> str:
        """What tells the pod from every other on this host: the process, if that is alone."""
        shared = None if self._open() is None or self.path is None else os.path.basename(self.path)
        return f"{shared or os.getpid()}/{self._prefix}"

    # -- the drain ----------------------------------------------------------------------------

    def changed(self, record: str) -> bool:
        """Whether ``record``, ``"drain"`` or ``"fleet"``, has changed since the last look."""
        directory = self._open()
        if directory is None:
            return False
        watched, mark = self._records[record], self._marks[record]
        try:
            if record not in self._unwritten:
                return watched.changed(directory) and not self._vanished(directory)
            overruled = watched.replaced(directory) or (mark.known and mark.changed(directory))
            if overruled and self._vanished(directory):
                return False
        except OSError as error:
            self._complain(f"cannot look at {self.path}: {error.strerror}")
            return False
        if overruled:
            self._settled(record)
        else:
            self._put(record, self._last[record], directory)  # the disk may have room again
        return overruled

    def read(self, record: str, default: Shared | None) -> Shared | None:
        """Return what stands in ``record``; ``default`` if that makes no sense."""
        directory = self._open()
        if directory is None:
            return default
        try:
            content = files.read(directory, self._records[record].name)
            value = None if content is None else shared_of(content)
        except files.ForeignError as error:
            self._complain(f"{self.path}: {error}; what was true before stays true")
            return default
        except OSError as error:
            self._complain(f"cannot read in {self.path}: {error.strerror}")
            return default
        self._last[record] = value
        return value

    def write(self, record: str, value: Shared | None) -> bool:
        """Let all workers know; False if only this one does."""
        self._last[record] = value
        directory = self._open()
        if directory is None:
            return False
        self._marks[record].forget()
        with suppress(OSError):
            self._records[record].changed(directory)  # what stands there now is older than this
        return self._put(record, value, directory)

    def _put(self, record: str, value: Shared | None, directory: int) -> bool:
        watched, mark = self._records[record], self._marks[record]
        try:
            if value is None:
                files.remove(directory, watched.name)
            else:
                files.write(directory, watched.name, shared_content(value))
            files.remove(directory, mark.name)
        except OSError as error:
            if self._vanished(directory):
                return self._open() is not None and self.write(record, value)
            self._unwritten.add(record)
            self.obstacle = f"cannot write in {self.path}: {error.strerror}"
            self._complain(f"{self.obstacle}; this worker alone knows of the drain")
            if not mark.known:
                with suppress(OSError):  # a disk that is full mostly has room for an empty file
                    files.touch(directory, mark.name)
                    mark.changed(directory)
            return False
        watched.forget()  # or what another writes next could look like what there was before
        self._settled(record)
        return True

    def _settled(self, record: str) -> None:
        self._unwritten.discard(record)
        if not self._unwritten:
            self.obstacle = None

    def overrule(self, record: str) -> None:
        """Have a worker that could not write its word drop it; the others never heard of it."""
        directory = self._open()
        if directory is not None:
            try:
                files.remove(directory, self._marks[record].name)
            except OSError as error:
                self._complain(f"cannot write in {self.path}: {error.strerror}")

    # -- startup ------------------------------------------------------------------------------

    def has_started(self, checks: AbstractSet[str]) -> bool:
        """Whether the startup has passed in any worker, or in several, with these checks."""
        directory = None if self._passed.includes(checks) else self._open()
        if directory is not None:
            try:
                self._passed.read(directory)
            except files.ForeignError as error:
                self._complain(f"{self.path}: {error}")
            except OSError as error:
                self._complain(f"cannot read in {self.path}: {error.strerror}")
        return self._passed.includes(checks)

    def start(self, checks: AbstractSet[str]) -> None:
        """Note for all workers that the startup has passed in this one, with these checks."""
        directory = None if self.has_started(checks) else self._open()
        self._passed.add(checks)
        if directory is not None:
            try:
                self._passed.write(directory)
            except OSError as error:
                self._complain(f"cannot write in {self.path}: {error.strerror}")

    # -- the workers --------------------------------------------------------------------------

    def announce(self, worker: Worker) -> None:
        """Write this worker's line."""
        directory = self._open()
        if directory is None:
            return
        stem = Stem(self._prefix, worker.pid)
        try:
            if self._presence is not None and not os.fstat(self._presence).st_nlink:
                os.close(self._presence)  # somebody has removed it, and nobody would look there
                self._presence = None
            if self._presence is None:
                self._presence = files.lock(directory, stem.lock)
            if self._presence is not None:
                beat(self._presence, worker.at)
            files.write(directory, stem.line, worker_content(worker))
        except OSError as error:
            if not self._vanished(directory):
                self._complain(f"cannot write in {self.path}: {error.strerror}")

    def beat(self, now: float) -> None:
        """Give a sign of life between two lines, at so many monotonic seconds."""
        if self._presence is not None:
            beat(self._presence, now)

    def workers(self) -> list[Worker]:
        """Return what every worker that lives has last said of itself, the oldest worker first."""
        directory = self._open()
        if directory is None:
            return []
        found: list[Worker] = []
        try:
            for stem in stems(directory):
                if stem.prefix == self._prefix:
                    found += self._line(directory, stem)
        except OSError as error:
            self._complain(f"cannot look at {self.path}: {error.strerror}")
        return sorted(found, key=lambda worker: (worker.started, worker.pid))

    def _line(self, directory: int, stem: Stem) -> list[Worker]:
        if stem.pid != os.getpid() and files.bury(directory, stem.lock, stem.line):
            return []  # it was killed
        try:
            line = line_of(directory, stem)
        except files.ForeignError as error:
            self._complain(f"{self.path}: {error}")
            return []
        return [] if line is None else [line]

    def leave(self) -> None:
        """Take this worker's line away."""
        with self._lock:
            directory = self._directory
            if directory is None or self._pid != os.getpid():
                return
            try:
                stem = Stem(self._prefix, os.getpid())
                for name in (stem.line, stem.lock):
                    files.remove(directory, name)
            except OSError as error:
                self._complain(f"cannot write in {self.path}: {error.strerror}")
            self._let_go()

    # -- the directory ------------------------------------------------------------------------

    def _open(self) -> int | None:
        with self._lock:
            if self._pid != os.getpid():
                self._let_go()
            if not self._tried:
                self._tried = True
                self._find()
            return self._directory

    def _find(self) -> None:
        if self._scope == "process":
            self.obstacle = "PROBEKIT_SCOPE is process"
            return
        if sys.platform != "linux":
            self.obstacle = "only Linux tells which processes belong together"
            return
        from probekit._lifecycle.pod.place import NoPlaceError, open_directory

        try:
            key = find_key(self._scope)
            self._directory, self.path, self._made = open_directory(key, self._environment)
            files.remove_drafts(self._directory)
        except (NoPlaceError, OSError, ValueError) as error:
            self.obstacle = str(error)
            self._complain(
                f"the workers of this server have nothing in common ({error}), so that a drain by "
                f"POST reaches one of them; set PROBEKIT_RUNTIME_DIR to a directory that this user "
                f"may write to"
            )

    def renew(self) -> None:
        """Be as new in a child that was forked: what the parent has open is the parent's."""
        self._lock = threading.RLock()
        self._let_go()

    def _let_go(self) -> None:
        opened = self._directory, self._presence
        self._forget()  # first, or what cannot be closed would be closed again when it is another's
        for descriptor in opened:
            if descriptor is not None:
                with suppress(OSError):  # a daemoniser has closed it
                    os.close(descriptor)

    def _vanished(self, directory: int) -> bool:
        """Whether somebody has removed the directory; then a new one takes its place."""
        with self._lock:
            if directory != self._directory:
                return True  # another thread was here first
            if os.fstat(directory).st_nlink:
                return False
            self._complain(f"somebody has removed {self.path}; made anew")
            self._let_go()
            # Who makes it anew writes what it knows; the others find that, and what came since.
            if self._open() is not None and self._made:
                for record, value in self._last.items():
                    if value is not None:
                        self.write(record, value)
            return True

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            self._complaints.add(text)
            logger.warning("shared state: %s", text)


def application(name: str) -> str:
    """Return what tells this application from another of the same name in this process.

    All workers load the same code, so they all come to the same.
    """
    _named[name] = count = _named.get(name, 0) + 1
    return name if count == 1 else application(f"{name}-{count}")


_named: dict[str, int] = {}
