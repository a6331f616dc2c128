"""Small files that are read whole or not at all, and locks that end with their process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from itertools import count
from typing import Any, cast

__all__ = [
    "ForeignError",
    "Watched",
    "bury",
    "is_locked",
    "lock",
    "read",
    "remove",
    "remove_drafts",
    "touch",
    "write",
]

VERSION = 1
LONGEST = 64 * 1024
"""Bytes; nothing of ours is a hundredth of it."""

_numbers = count()


class ForeignError(Exception):
    """A file does not hold what this version of probekit writes; the text says what is wrong."""


def write(directory: int, name: str, content: dict[str, Any]) -> None:
    """Replace a file in one step: whoever reads it meanwhile reads all of it, old or new.

    Raises:
        OSError: If it cannot be written; the old one stays.
    """
    data = json.dumps({"version": VERSION} | content).encode() + b"\n"
    draft = f".{name}.{os.getpid()}.{next(_numbers)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=directory)
    try:
        try:
            check_length(os.write(descriptor, data), data)
        finally:
            os.close(descriptor)
        os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise


def check_length(written: int, data: bytes) -> None:
    """Refuse half a file: a file system that is full takes what it has room for."""
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(directory: int, name: str) -> dict[str, Any] | None:
    """Return what a file holds; None if there is none.

    Raises:
        ForeignError: If probekit of this version has not written it.
        OSError: If it cannot be read.
    """
    try:
        # O_NONBLOCK, or a pipe of that name would hold up the reader.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        data = os.read(descriptor, LONGEST)
    finally:
        os.close(descriptor)
    try:
        content: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ForeignError(f"{name} holds no JSON: {error}") from None
    version = cast("dict[str, Any]", content).get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise ForeignError(f"{name} is of version {version!r}, not {VERSION}")
    return cast("dict[str, Any]", content)


def remove(directory: int, name: str) -> None:
    """Remove a file, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def touch(directory: int, name: str) -> None:
    """Make an empty file, if there is none.

    Raises:
        OSError: If there can be no such file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    os.close(os.open(name, flags, 0o600, dir_fd=directory))


NEVER = (0, 0, 0)
"""What no file looks like, nor none: there was no look yet."""


class Watched:
    """One file, of which only a change is read.

    A look costs one call of the system, some microseconds.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: tuple[int, int, int] | None = NEVER

    @property
    def known(self) -> bool:
        """Whether there was a look."""
        return self._seen != NEVER

    def changed(self, directory: int) -> bool:
        """Whether it is another one than at the last look.

        Raises:
            OSError: If the directory cannot be looked at.
        """
        try:
            status = os.stat(self.name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            seen = None
        else:
            # A file that replaces another is another inode, which may be the last but one's.
            seen = status.st_ino, status.st_mtime_ns, status.st_size
        changed = seen != self._seen
        self._seen = seen
        return changed

    def replaced(self, directory: int) -> bool:
        """Whether it is another one than at the last look, if there was one.

        Raises:
            OSError: If the directory cannot be looked at.
        """
        known = self.known
        return self.changed(directory) and known

    def forget(self) -> None:
        """Take the next look for the first."""
        self._seen = NEVER


def lock(directory: int, name: str) -> int | None:
    """Take a lock that the kernel gives back when the process ends, however it does.

    Returns:
        The descriptor that holds it, or None if somebody else does.

    Raises:
        OSError: If there can be no such file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        if not locked(descriptor, exclusively=True):
            os.close(descriptor)
            return None
        if stands(directory, name, descriptor):
            return descriptor
        os.close(descriptor)  # somebody removed it in that moment, and nobody would look there


def is_locked(directory: int, name: str) -> bool:
    """Whether somebody holds the lock, or might; False if there is no such file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not locked(descriptor, exclusively=False)
    finally:
        os.close(descriptor)


def bury(directory: int, name: str, *others: str) -> bool:
    """Remove a lock whose holder is no more, and the files that go with it.

    Returns:
        False if somebody holds it.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return True
    try:
        if not locked(descriptor, exclusively=True):
            return False
        if stands(directory, name, descriptor):
            for each in (*others, name):
                remove(directory, each)
        return True
    finally:
        os.close(descriptor)


def locked(descriptor: int, *, exclusively: bool) -> bool:
    """Lock an open file, if nobody stands against it, and return whether it is."""
    import fcntl  # which Windows has not

    kind = fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def stands(directory: int, name: str, descriptor: int) -> bool:
    """Whether the open file still has its name."""
    try:
        named = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def remove_drafts(directory: int) -> None:
    """Remove what writers that were killed have left."""
    for name in os.listdir(directory):
        pid = name.split(".")[-2] if name.startswith(".") and name.count(".") > 2 else ""
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            remove(directory, name)
