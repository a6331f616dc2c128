"""One worker that does for all what needs to be done once."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probekit._lifecycle.pod.pod import Pod

__all__ = ["Leadership"]


class Leadership:
    """Held by one worker of a pod until its process ends, however it does; then by another.

    Where the workers have nothing in common, each leads itself.

    Args:
        pod: What they share.
        purpose: What there is one leader for.
    """

    def __init__(self, pod: Pod, *, purpose: str) -> None:
        self._pod = pod
        # No name that the workers' own locks could have.
        self._name = f"{pod.name}.{purpose}-leader"
        self._descriptor: int | None = None
        self._pid = 0

    def take(self) -> bool:
        """Take the lead if nobody has it; whether this process has it now."""
        if self._descriptor is not None and not self._stands(self._descriptor):
            self.release()
        directory = self._pod.directory
        if directory is None:
            return True
        if self._descriptor is None:
            try:
                self._descriptor = lock(directory, self._name)
            except OSError:
                return True  # several leaders are dear, none would be deaf
            self._pid = os.getpid()
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lead back, if this process has it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _stands(self, descriptor: int) -> bool:
        """Whether the lock is this process's own and others can see it."""
        return self._pid == os.getpid() and os.fstat(descriptor).st_nlink > 0


def lock(directory: int, name: str) -> int | None:
    """Take a lock that a child which is forked does not keep alive, as it would with flock(2).

    Returns:
        The descriptor that holds it, or None if another process does.

    Raises:
        OSError: If there can be no such file.
    """
    import fcntl  # which Windows has not

    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as stack:
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        stack.callback(os.close, descriptor)
        with suppress(BlockingIOError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stack.pop_all()
            return descriptor
    return None
