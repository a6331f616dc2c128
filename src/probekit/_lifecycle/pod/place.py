"""Where the directory is, and that nobody else has a hand in it."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from probekit._lifecycle.pod.files import is_locked
from probekit._lifecycle.pod.key import Key, start_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "VARIABLE",
    "Directory",
    "NoPlaceError",
    "candidates",
    "check_base",
    "home_in",
    "open_directory",
    "open_own",
]

VARIABLE = "PROBEKIT_RUNTIME_DIR"
FORGOTTEN_AFTER = 600.0
"""Seconds after which the directory of a container that shows no sign of life is removed."""

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NoPlaceError(Exception):
    """There is no directory that could be used; the text says why each was refused."""


class Directory(NamedTuple):
    """A directory that is open.

    Attributes:
        descriptor: What it is used by.
        path: Where it was, for people.
        made: Whether it was not there before.
    """

    descriptor: int
    path: str
    made: bool


def open_directory(key: Key, environment: Mapping[str, str]) -> Directory:
    """Make the directory of ``key``, if it is not there, and open it.

    Raises:
        NoPlaceError: If there is no place for it.
    """
    refused: list[str] = []
    for base in candidates(environment):
        try:
            check_base(base, trusted=environment.get(VARIABLE) == base)
            home, _ = open_private(None, home_in(base))
        except OSError as error:
            refused.append(f"{base}: {error.strerror or error}")
            continue
        try:
            remove_forgotten(home, key)
            descriptor, made = open_private(home, str(key))
            return Directory(descriptor, f"{home_in(base)}/{key}", made)
        except OSError as error:
            refused.append(f"{base}: {error.strerror or error}")
        finally:
            os.close(home)
    raise NoPlaceError("; ".join(refused))


def candidates(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the directories to try; one that the environment names is not second-guessed."""
    if named := environment.get(VARIABLE):
        yield named
        return
    yield "/dev/shm"  # noqa: S108 - our directory in it is checked for its owner
    if session := environment.get("XDG_RUNTIME_DIR"):
        yield session
    from tempfile import gettempdir  # dear to import, and most systems never come to it

    with suppress(FileNotFoundError):  # a container whose file system is read-only has none
        yield gettempdir()


def home_in(base: str) -> str:
    """Return the directory of this user below ``base``."""
    return os.path.join(base, f"probekit-{os.geteuid()}")


def open_private(parent: int | None, name: str) -> tuple[int, bool]:
    """Make a directory that nobody else can read or write, if it is not there, and open it.

    Returns:
        The descriptor, and whether it was made.

    Raises:
        OSError: If it cannot be made, or is not ours, or not private; a link is not followed.
    """
    made = False
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    descriptor, mode = open_own(parent, name)
    try:
        if mode & 0o077:
            os.fchmod(descriptor, 0o700)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, made


def open_own(parent: int | None, name: str) -> tuple[int, int]:
    """Open a directory of this user's.

    Returns:
        The descriptor, and who may do what in it.

    Raises:
        OSError: If there is none, or it is not ours; a link is not followed.
    """
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(f"{name} belongs to user {status.st_uid}, not to {os.geteuid()}")
    return descriptor, stat.S_IMODE(status.st_mode)


def check_base(base: str, *, trusted: bool) -> None:
    """Refuse a directory in which others could put theirs in the place of ours.

    Args:
        base: The directory.
        trusted: Whether the operator has named it, who knows who else may write to it: to a volume
            of Kubernetes all of the pod may, and it has no sticky bit.
    """
    status = os.lstat(base)
    if stat.S_ISLNK(status.st_mode):
        raise NotADirectoryError(f"{base} is a symbolic link")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{base} is no directory")
    if status.st_uid not in {0, os.geteuid()}:
        raise PermissionError(
            f"{base} belongs to user {status.st_uid}, who may rename what is in it"
        )
    others = stat.S_IWOTH | stat.S_IWGRP
    if status.st_mode & others and not status.st_mode & stat.S_ISVTX and not trusted:
        raise PermissionError(f"others may rename what is in {base}; it has no sticky bit")


def remove_forgotten(home: int, own: Key) -> None:
    """Remove the directories of servers that are no more."""
    for name in os.listdir(home):
        key = Key.parse(name)
        if key is None or key == own:
            continue
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=home)
        except OSError:
            continue  # another worker has just removed it
        try:
            if is_forgotten(key, own, descriptor):
                for each in os.listdir(descriptor):
                    os.unlink(each, dir_fd=descriptor)
                os.rmdir(name, dir_fd=home)
        except OSError:
            pass  # likewise
        finally:
            os.close(descriptor)


def is_forgotten(key: Key, own: Key, descriptor: int) -> bool:
    """Whether the server of ``key`` is certainly no more."""
    if (key.boot, key.namespace) == (own.boot, own.namespace):
        return start_time(key.pid) != key.started
    # Another container's processes cannot be seen from here, but the locks that they hold can; and
    # the directory of another boot may be that of a virtual machine beside this one.
    quiet = time.time() - os.fstat(descriptor).st_mtime > FORGOTTEN_AFTER
    return quiet and not any(is_locked(descriptor, each) for each in locks(descriptor))


def locks(descriptor: int) -> Iterator[str]:
    """Yield the names of the lock files in a directory."""
    return (name for name in os.listdir(descriptor) if name.endswith(".lock"))
