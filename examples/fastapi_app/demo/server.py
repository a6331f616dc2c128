"""The order service as a process: started, watched, ended by its process id."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

__all__ = ["NotAsTold", "Server", "serving"]

ROOT = Path(__file__).parents[3]
START_LIMIT = 20.0
"""Seconds until uvicorn must listen: a cold import on a slow disk takes a while."""
LOG_LINES = 25


class NotAsTold(Exception):
    """Something went another way than the story says."""


class Server:
    """A uvicorn that serves the example on a port of its own choice.

    Args:
        log: The file that gets its output.
        environment: What it needs beside the environment of this process.
        options: Further options of uvicorn.
    """

    def __init__(self, *, log: Path, environment: Mapping[str, str], options: tuple[str, ...] = ()):
        self.log = log
        inherited = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
        command = ("uvicorn", "examples.fastapi_app.app:app", "--port", "0", *LIKE_IN_A_CLUSTER)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                (sys.executable, "-m", *command, *options),
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for the demo, which then ends the server in order
            )

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self.process.poll()

    async def url(self) -> str:
        """Return where it listens, as soon as it does.

        Raises:
            NotAsTold: It ended, or took too long.
        """
        deadline = time.monotonic() + START_LIMIT
        while (found := re.search(r"running on (http://\S+)", self.output())) is None:
            if self.status is not None:
                raise NotAsTold(f"the server ended with status {self.status} instead of starting")
            if time.monotonic() > deadline:
                raise NotAsTold(f"the server does not listen after {START_LIMIT:g} s")
            await asyncio.sleep(0.02)
        return found[1]

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, *, within: float) -> int:
        """Return the exit status when it has ended by itself.

        Raises:
            NotAsTold: It still runs after ``within`` seconds.
        """
        deadline = time.monotonic() + within
        while (status := self.status) is None:
            if time.monotonic() > deadline:
                raise NotAsTold(f"the server still runs {within:g} s after it should have left")
            await asyncio.sleep(0.02)
        return status

    def kill(self) -> None:
        """End it at once; harmless if it has ended."""
        self.process.kill()
        self.process.wait(10)

    def output(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(errors="replace")

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.output().splitlines()[-LOG_LINES:])


ELSEWHERE = {"DATABASE_URL", "REDIS_URL", "PROBEKIT_DRAIN_DELAY", "KUBERNETES_SERVICE_HOST"}
"""Variables of this process that would make the server another one than the story is about."""


LIKE_IN_A_CLUSTER = (
    "--no-access-log",
    "--timeout-keep-alive=75",
    "--timeout-graceful-shutdown=16",
)
"""See kubernetes.yaml."""


@asynccontextmanager
async def serving(
    *, log: Path, environment: Mapping[str, str], options: tuple[str, ...] = ()
) -> AsyncGenerator[Server]:
    """Run a `Server` while the body runs; it never outlives it."""
    server = Server(log=log, environment=environment, options=options)
    try:
        yield server
    finally:
        server.kill()
