"""The name of what the workers of one server share, and of which machine and server it is."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["Key", "after_the_name", "start_time", "text_of", "this_machine"]


class Key(NamedTuple):
    """What tells one server from every other, on this machine and after it.

    Attributes:
        boot: The beginning of the kernel's id of this boot.
        namespace: The inode of the process namespace, which a container has of its own.
        pid: The master's process id.
        started: When the master was started, in ticks since the boot.
    """

    boot: str
    namespace: int
    pid: int
    started: int

    def __str__(self) -> str:
        """Return the name of the directory."""
        return f"{self.boot}-{self.namespace}-{self.pid}-{self.started}"

    @classmethod
    def parse(cls, name: str) -> Key | None:
        """Return the key of a directory, or None if its name is no key."""
        boot, *numbers = name.split("-")
        if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            return None
        namespace, pid, started = map(int, numbers)
        return cls(boot, namespace, pid, started)


def this_machine() -> tuple[str, int]:
    """Return the boot and the process namespace of this process's key.

    Raises:
        OSError: If this system has no /proc that tells.
    """
    boot = text_of("/proc/sys/kernel/random/boot_id")[:8]
    return boot, os.stat("/proc/self/ns/pid").st_ino


def start_time(pid: int) -> int | None:
    """Return when the process was started, in ticks since the boot; None if there is none."""
    try:
        stat = text_of(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(after_the_name(stat)[19])


def after_the_name(stat: str) -> list[str]:
    """Return the fields of a process's stat(5), from the third, its state, on."""
    # The name of the program is in parentheses and may hold spaces and parentheses itself.
    return stat.rpartition(")")[2].split()


def text_of(path: str) -> str:
    """Return what a file of /proc says; pathlib would take longer to load than all of this."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
