"""Which processes belong together: the key of a server, found from inside any of its workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probekit import ConfigurationError, Probes
from probekit._lifecycle.pod.key import Key, start_time
from probekit._lifecycle.pod.master import find_key, find_scope, master_pid
from tests.waiting import PATIENCE

from ._workers import ROOT, namespaces, pod_environment

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

METHODS = ["spawn", "fork", "forkserver"]


def test_a_key_is_the_name_of_a_directory() -> None:
    """It is written and read without a loss."""
    key = find_key()
    assert Key.parse(str(key)) == key
    assert key.pid == os.getpid()
    assert "/" not in str(key)


@pytest.mark.parametrize(
    "name",
    ["", "x", "abcd-1-2", "abcd-1-2-3-4", "abcd-1-2-x", "abcd-1--3", "abcd-1-2-3.draft", "a-²-2-3"],
)
def test_a_foreign_name_is_no_key(name: str) -> None:
    """What somebody else put into the directory is not taken for a server's."""
    assert Key.parse(name) is None


@pytest.mark.parametrize("name", ["plain", "with space", "a) R 1 (b", ")", "((", ") 0 0 0 0 0"])
def test_the_start_of_any_process_is_found(name: str, tmp_path: Path) -> None:
    """The program's name stands in the middle of what the kernel tells, and may hold anything."""
    program = tmp_path / name
    program.symlink_to("/bin/sleep")
    before, own = start_time(os.getpid()), Path("/proc/uptime").read_text(encoding="ascii")
    process = subprocess.Popen([program, "60"])
    try:
        started = start_time(process.pid)
    finally:
        process.kill()
        process.wait(PATIENCE)
    now = float(own.split()[0]) * os.sysconf("SC_CLK_TCK")
    assert before is not None
    assert started is not None
    assert before <= started
    assert now - 100 <= started <= now + 1000
    assert start_time(process.pid) is None


def test_a_process_that_is_gone_has_no_start() -> None:
    """Whoever has a number that nobody has any more is told so."""
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait(PATIENCE)
    assert start_time(process.pid) is None
    assert start_time(2**22 + 1) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_of_multiprocessing_belongs_to_whoever_started_it(method: str) -> None:
    """As the workers of uvicorn, granian and hypercorn do, however they are made."""
    context: Any = multiprocessing.get_context(method)  # no common type has a Process
    answer: SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=tell_key, args=(answer,))
    child.start()
    try:
        assert answer.get() == str(find_key())
    finally:
        child.join(PATIENCE)


def tell_key(answer: SimpleQueue[str]) -> None:
    """Tell this process's key."""
    answer.put(str(find_key()))


def test_a_process_that_a_shell_started_belongs_to_itself() -> None:
    """Two servers that somebody starts in one container are two."""
    code = (
        "from probekit._lifecycle.pod.master import *; import os; "
        "print(find_key().pid, os.getpid())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    found, own = shown.stdout.split()
    assert found == own


def test_a_container_has_one_key() -> None:
    """Its first process is the master of all servers in it."""
    assert find_key("container").pid == 1
    assert find_key("container")[:2] == find_key()[:2]


def test_two_containers_have_two_keys() -> None:
    """Their first processes have the same number, and their namespaces tell them apart."""
    code = "from probekit._lifecycle.pod.master import *; print(find_key('container'))"
    keys = {
        subprocess.check_output(
            [*namespaces("pid"), sys.executable, "-c", code], text=True, timeout=PATIENCE
        )
        for _ in range(2)
    }
    assert len(keys) == 2


def test_a_master_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no key without its start."""
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait(PATIENCE)
    in_uwsgi(monkeypatch, process.pid)
    with pytest.raises(ProcessLookupError, match=f"process {process.pid}, .* is gone"):
        find_key()


@pytest.mark.parametrize(("told", "found"), [(4711, 4711), (0, None)])
def test_uwsgi_tells_its_master(
    told: int, found: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 is what it tells if it has none."""
    in_uwsgi(monkeypatch, told)
    assert master_pid() == (found or os.getpid())


def in_uwsgi(monkeypatch: pytest.MonkeyPatch, master: int) -> None:
    """Be inside uWSGI, as far as anybody can see who cannot install it."""
    module = types.ModuleType("uwsgi")
    module.masterpid = lambda: master  # type: ignore[attr-defined]  # only the real one has it
    monkeypatch.setitem(sys.modules, "uwsgi", module)


ARBITER = """
import os, sys, threading
del sys._current_frames  # it stops the world on a free-threaded build
from gunicorn.arbiter import Arbiter
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker
if "preload" in sys.argv:
    from probekit._lifecycle.pod.master import master_pid
    print(os.getpid(), master_pid(), flush=True)

class Told(Worker):
    def run(self):
        from probekit._lifecycle.pod.master import master_pid
        thread = threading.Thread(target=lambda: found.append(master_pid()))
        thread.start()
        thread.join()
        print(self.ppid, master_pid(), *found, flush=True)

class Application(BaseApplication):
    def load_config(self):
        self.cfg.set("worker_class", Told)
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("loglevel", "critical")
    def load(self):
        return None

found = []
arbiter = Arbiter(Application())
arbiter.start()
arbiter.spawn_worker()
"""


@pytest.mark.parametrize("loaded", ["preload", "in the worker"])
def test_gunicorns_master_is_found_from_any_thread_of_a_worker(loaded: str) -> None:
    """And in the master, where the application is loaded with ``--preload``, it is itself."""
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARBITER, loaded],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    *before, worker = shown.stdout.splitlines()
    assert len(set(worker.split())) == 1
    assert len(worker.split()) == 3
    assert [set(line.split()) for line in before] == [
        set(worker.split()) for _ in range(loaded == "preload")
    ]


@pytest.mark.parametrize(
    ("environment", "scope"),
    [
        ({}, "pod"),
        ({"PROBEKIT_SCOPE": ""}, "pod"),
        ({"PROBEKIT_SCOPE": "pod"}, "pod"),
        ({"PROBEKIT_SCOPE": "container"}, "container"),
        ({"PROBEKIT_SCOPE": "process"}, "process"),
    ],
)
def test_the_environment_says_how_far_a_drain_reaches(
    environment: dict[str, str], scope: str
) -> None:
    """The workers of one server, unless it says otherwise."""
    assert find_scope(environment) == scope


@pytest.mark.parametrize("value", [" ", "Pod", "node", "pod "])
def test_a_scope_that_there_is_not_stops_the_start(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the variable, what may stand in it, and what does."""
    monkeypatch.setenv("PROBEKIT_SCOPE", value)
    message = f"PROBEKIT_SCOPE must be one of pod, container, process, got {value!r}"
    with pytest.raises(ConfigurationError, match=f"^{message}$"):
        Probes()


def test_a_system_that_tells_nothing_is_no_failure(tmp_path: Path) -> None:
    """Without /proc a worker is alone, and says why."""
    code = "from probekit import Probes; pod = Probes().service.pod; print(pod.scope, pod.obstacle)"
    script = f'mount -t tmpfs none /proc && "{sys.executable}" -c "{code}"'
    shown = subprocess.run(
        [*namespaces("mount"), "sh", "-c", script],
        env=pod_environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert shown.stdout.startswith("process [Errno 2] No such file or directory: '/proc/")
    assert shown.stderr.count("have nothing in common") == 1
