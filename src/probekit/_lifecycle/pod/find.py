"""The pods of this machine whose server lives, for a process that belongs to none of them."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from probekit._lifecycle.pod.key import Key, start_time, this_machine
from probekit._lifecycle.pod.place import VARIABLE, candidates, check_base, home_in, open_own

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

__all__ = ["Pods", "living_pods"]

OTHERS_MAY_WRITE = 0o022


class Pods(NamedTuple):
    """The pods that were found, open.

    Attributes:
        directories: Their descriptors, by path.
        passed_over: What was looked at and is none, and why, a sentence each.
    """

    directories: dict[str, int]
    passed_over: list[str]


@contextmanager
def living_pods(environment: Mapping[str, str]) -> Generator[Pods]:
    """Find the pods of this user, boot and process namespace whose server lives.

    They are looked for where a server would make them, in the first directory that has any;
    nothing is made, changed or removed.

    Raises:
        OSError: If this system has no /proc that tells.
    """
    found = Pods({}, [])
    machine = this_machine()
    with ExitStack() as opened:
        for base in candidates(environment):
            home = home_in(base)
            try:
                check_base(base, trusted=environment.get(VARIABLE) == base)
                descriptor = open_checked(None, home)
            except OSError as error:
                found.passed_over.append(f"{home}: {error.strerror or error}")
                continue
            opened.callback(os.close, descriptor)
            for name in living(descriptor, home, machine, found.passed_over):
                try:
                    pod = open_checked(descriptor, name)
                except OSError as error:
                    found.passed_over.append(f"{home}/{name}: {error.strerror or error}")
                    continue
                opened.callback(os.close, pod)
                found.directories[f"{home}/{name}"] = pod
            if found.directories:
                break
        yield found


def open_checked(parent: int | None, name: str) -> int:
    """Open a directory into which nobody else can have put anything.

    Raises:
        OSError: If there is none, or it is another's, or others may write to it.
    """
    descriptor, mode = open_own(parent, name)
    if mode & OTHERS_MAY_WRITE:
        os.close(descriptor)
        raise PermissionError(f"others may write to {name}, whose mode is {mode:o}")
    return descriptor


def living(home: int, path: str, machine: tuple[str, int], passed_over: list[str]) -> Iterator[str]:
    """Yield the names of the directories whose master lives, and count the others."""
    elsewhere = ended = 0
    names = sorted(os.listdir(home))
    for name in names:
        key = Key.parse(name)
        if key is None:
            continue
        if (key.boot, key.namespace) != machine:
            elsewhere += 1
        elif start_time(key.pid) != key.started:
            ended += 1
        else:
            yield name
    if elsewhere:
        passed_over.append(f"{path}: {elsewhere} of another boot or process namespace")
    if ended:
        passed_over.append(f"{path}: {ended} of servers that have ended")
    if not names:
        passed_over.append(f"{path}: empty")
