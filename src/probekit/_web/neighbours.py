"""Who else listens on a port that the system lets several processes share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from probekit._lifecycle.pod.key import after_the_name, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["strangers"]

PROC = Path("/proc")
LISTENS = "0A"
"""The state of a socket in proc(5)'s ``net/tcp``."""


def strangers(port: int, *, master: int) -> list[int]:
    """Return the id of each process that listens there and is not of this server.

    Only those of this network namespace and of this user are seen; nobody else may share a port.
    Where there is no /proc, nobody is.

    Args:
        port: Of TCP, on whichever address.
        master: The process that starts the workers of this server.
    """
    sockets = {f"socket:[{inode}]" for inode in listeners(port)} - set(opened_by(PROC / "self"))
    if not sockets:
        return []
    processes = [each for each in PROC.iterdir() if each.name.isdecimal()]
    holders = [int(each.name) for each in processes if not sockets.isdisjoint(opened_by(each))]
    return sorted(pid for pid in holders if not descends(pid, master))


def listeners(port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on a port."""
    for family in ("tcp", "tcp6"):
        with suppress(OSError):  # a kernel without IPv6, or no /proc
            for line in text_of(f"/proc/self/net/{family}").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def opened_by(process: Path) -> Iterator[str]:
    """Yield what a process has open; nothing if it is gone, or another user's."""
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed in this moment
                yield str(descriptor.readlink())


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is the other, or was started by it or by one of those it started."""
    with suppress(OSError):
        while pid > 1 and pid != ancestor:
            pid = int(after_the_name(text_of(f"/proc/{pid}/stat"))[1])
    return pid == ancestor
