"""A worker of its own that does what it is told, a line at a time; see `_workers`.

``python -m tests.pod._child UID``: as which user, 0 for the one who starts it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from probekit import Probes
from probekit._lifecycle.pod import files
from probekit.asgi import probe_app
from tests.web._asking import ask

from ._workers import descriptors, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Child:
    """What may be asked of it; the result of a method is the answer."""

    def __init__(self, name: str = "app") -> None:
        self.probes = Probes(name=name, observers=[])
        self.app = probe_app(self.probes)
        self.pod = self.probes.service.pod

    def another(self) -> None:
        """Go on with another of the same name."""
        self.__init__()  # type: ignore[misc]  # it is as new

    def drain(self, **options: Any) -> str | None:
        """Begin a drain."""
        self.probes.drain(**options)
        return self.reason()

    def undrain(self) -> str | None:
        """End it."""
        self.probes.undrain()
        return self.reason()

    def reason(self) -> str | None:
        """Look, and tell why it drains."""
        self.probes.service.drain.look()
        drain = self.probes.draining
        return None if drain is None else drain.reason

    def since(self) -> float | None:
        """Tell when the drain began."""
        drain = self.probes.draining
        return None if drain is None else drain.since

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Ask the endpoints of this worker."""

        async def main() -> tuple[int, Any]:
            answer = await ask(self.app, path, method)
            return answer.status, answer.json()

        return anyio.run(main)

    def announce(self) -> list[int]:
        """Write the worker's line, and tell whose there are."""
        self.probes.service._keep()
        return self.pids()

    def pids(self) -> list[int]:
        """Tell which workers there are."""
        return [worker.pid for worker in self.pod.workers()]

    def leave(self) -> None:
        """Take the worker's line away."""
        self.pod.leave()

    def path(self) -> tuple[str | None, str | None]:
        """Tell where the shared state is, or why there is none."""
        return self.pod.scope and self.pod.path, self.pod.obstacle

    def files(self) -> dict[str, str]:
        """Tell what stands in the directory."""
        assert self.pod.path is not None
        return {path.name: path.read_text() for path in Path(self.pod.path).iterdir()}

    def fill(self) -> None:
        """Leave no room in the file system of the directory."""
        assert self.pod.path is not None
        with (
            (Path(self.pod.path) / "ballast").open("wb", buffering=0) as ballast,
            suppress(OSError),
        ):
            while ballast.write(bytes(1024)):
                pass

    def make_room(self) -> None:
        """Take that back."""
        assert self.pod.path is not None
        (Path(self.pod.path) / "ballast").unlink()

    def descriptors(self) -> int:
        """Tell how many descriptors are open."""
        return len(descriptors())

    def fork(self) -> int:
        """Leave a child behind that does nothing for a while."""
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        return pid

    def fork_while_a_thread_looks(self) -> str:
        """Fork while another thread is in the middle of a look; tell whether the child can look."""
        inside, over = threading.Event(), threading.Event()

        def hold() -> None:
            with self.pod._lock:
                inside.set()
                over.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(10)
        pid = os.fork()
        if pid == 0:
            signal.alarm(2)
            self.pod.workers()
            sys.exit()
        over.set()
        thread.join()
        return "looked" if os.waitpid(pid, 0)[1] == 0 else "hung"

    def forked_has_nothing(self) -> bool:
        """Tell whether a forked child opens descriptors of its own and leaves the parent's lock."""
        parent = self.pod._directory
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            own = self.pod.scope and self.pod._presence is None and self.pod._pid == os.getpid()
            os.write(write_end, b"y" if own else b"n")
            sys.exit()
        os.close(write_end)
        answer = os.read(read_end, 1)
        os.close(read_end)
        os.wait()
        return answer == b"y" and parent == self.pod._directory

    def kill_writers(self, number: int, seed: int) -> tuple[int, int]:
        """Fork a writer, kill it, and the next one: one at any moment, two in the middle.

        Returns:
            How many were killed, and how many of them left a draft.
        """
        moments, killed, halved = random.Random(seed), 0, 0
        for turn in range(number):
            pid = os.fork()
            if pid == 0:
                if turn % 3:
                    self.write(moments.randrange(20))
                    stop_in("write" if turn % 3 == 1 else "replace")
                self.write()
            if turn % 3:
                assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
            else:
                time.sleep(moments.uniform(0.0, 0.02))
            os.kill(pid, signal.SIGKILL)
            killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
            assert self.pod.path is not None
            halved += any(f".json.{pid}." in name for name in names_in(self.pod.path))
        return killed, halved

    def write(self, times: int | None = None) -> None:
        """Write the drain so often, or for ever, of a length that changes and that stands in it."""
        for number in count() if times is None else range(times):
            self.probes.drain(reason="x" * (number % 200), by=f"{number % 200}")

    def read_until(self, path: str) -> tuple[int, int]:
        """Count the states that were read, and those that were not whole, until there is a file."""
        directory = self.pod._open()
        assert directory is not None
        whole = broken = 0
        while not Path(path).exists():
            try:
                content = files.read(directory, "app.drain.json")
            except files.ForeignError:
                broken += 1
                continue
            good = content is None or len(content["reason"]) == int(content["by"])
            whole, broken = whole + good, broken + (not good)
        return whole, broken


def stop_in(call: str) -> None:
    """Have this process stop, as SIGSTOP does, in a call of the system: ``os.write`` half-way."""
    goes_on = getattr(os, call)

    def stop(*args: Any, **options: Any) -> object:
        if call == "write":
            descriptor, data = args
            goes_on(descriptor, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGSTOP)
        return goes_on(*args, **options)

    setattr(os, call, stop)


def rehearse() -> None:
    """Import all that will be needed: another user may not read the interpreter's files."""
    import fcntl  # noqa: F401 - for later, as what follows
    import tempfile  # noqa: F401

    from probekit._lifecycle.pod import master, place  # noqa: F401

    master.find_key()
    before = os.environ["PROBEKIT_SCOPE"]
    os.environ["PROBEKIT_SCOPE"] = "process"
    child = Child("rehearsal")
    child.drain()
    child.ask("GET", "/admin/drain")
    child.ask("GET", "/readyz")
    os.environ["PROBEKIT_SCOPE"] = before


def main() -> None:
    """Answer each line."""
    uid = int(sys.argv[1])
    if uid:
        rehearse()
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    child = Child()
    for line in sys.stdin:
        command, arguments = json.loads(line)
        method: Callable[..., object] = getattr(child, command)
        if isinstance(arguments, list):
            result = method(*arguments)
        else:
            given: Mapping[str, Any] = arguments
            result = method(**given)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
