"""``probekit alive --port`` as a process of its own.

It knows no pytest, so that the benchmarks may start it, too.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE, log_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["Beside", "whole"]


class Beside:
    """The command as a process of its own; a context manager.

    Args:
        environment: What names the directory where it looks.
        words: Further arguments.
    """

    def __init__(self, environment: Mapping[str, str], *words: str) -> None:
        self._environment = {**os.environ, **environment}
        self._words = words or ("--host", "127.0.0.1")
        self.port = 0

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "probekit", "alive", "--port", "0", *self._words]
        self.process = subprocess.Popen(command, stderr=self._errors, env=self._environment)
        try:
            wait_until(lambda: "/healthz\n" in self.log(), "it says where it listens")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        [port] = re.findall(r"answers at http://\S+:(\d+)/healthz\n", self.log())
        self.port = int(port)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait(PATIENCE)
            self._errors.close()

    def log(self) -> str:
        """Return what it has said on stderr."""
        return log_of(self._errors)

    def connect(self) -> socket.socket:
        """Connect, and say nothing."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def said(self, data: bytes) -> bytes:
        """Send something, and return all that comes back until the end."""
        with self.connect() as client:
            client.sendall(data)
            return whole(client)


def whole(client: socket.socket) -> bytes:
    """Return all that comes until the end, or until the other end breaks off."""
    answer = b""
    try:
        while data := client.recv(65_536):
            answer += data
    except ConnectionResetError:
        pass
    return answer
