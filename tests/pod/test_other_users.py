"""Places that belong to others, cannot be written, or are full."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.waiting import wait_until

from ._workers import NOBODY, Worker, agree, names_in, namespaces, open_to_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start a process of another user"
)
REMEDY = "set PROBEKIT_RUNTIME_DIR to a directory that this user may write to"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may enter, and nobody but its owner may write."""
    with open_to_all() as path:
        yield path


def alone(worker: Worker) -> str:
    """Return why a worker that is alone says it is, after a look at its log and its endpoint."""
    path, obstacle = worker.ask("path")
    assert path is None
    status, shown = worker.ask("ask", "POST", "/admin/drain")
    assert status == 202
    assert (shown["scope"], shown["scope_reason"]) == ("process", obstacle)
    assert [line["draining"] for line in shown["workers"]] == [True]
    assert worker.ask("ask", "GET", "/readyz")[0] == 503
    assert worker.ask("ask", "DELETE", "/admin/drain")[1]["draining"] is None
    assert worker.ask("ask", "GET", "/readyz")[0] == 200
    assert worker.log().count("shared state: ") == 1
    assert f"({obstacle})" in worker.log()
    assert REMEDY in worker.log()
    return str(obstacle)


@as_root
def test_a_user_who_may_not_write_there_is_alone_and_is_told_so(public: Path) -> None:
    """One line in the log, the reason in every answer about the drain, and no request fails."""
    with Worker(public, uid=NOBODY) as worker:
        assert alone(worker) == f"{public}: Permission denied"
    assert names_in(public) == []


@as_root
def test_an_unprivileged_user_shares_where_it_may_write(public: Path) -> None:
    """Workers of the same user meet; root's are others, in the same directory."""
    public.chmod(0o1777)
    one, other = (Worker(public, uid=NOBODY) for _ in range(2))
    with one, other, Worker(public) as roots:
        one.ask("drain", reason="deploy")
        assert (other.ask("reason"), roots.ask("reason")) == ("deploy", None)
    assert names_in(public) == ["probekit-0", f"probekit-{NOBODY}"]


@as_root
def test_a_home_that_another_user_has_put_there_is_refused(public: Path) -> None:
    """In a directory that everybody may write, anybody may have come first."""
    public.chmod(0o1777)
    home = public / f"probekit-{NOBODY}"
    home.mkdir(mode=0o777)
    with Worker(public, uid=NOBODY) as worker:
        assert f"belongs to user 0, not to {NOBODY}" in alone(worker)
    theirs = public / "probekit-0"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    with Worker(public) as worker:
        assert f"belongs to user {NOBODY}, not to 0" in alone(worker)


@as_root
def test_a_home_that_cannot_be_read_is_refused(public: Path) -> None:
    """One's own may have lost its mode."""
    public.chmod(0o1777)
    home = public / f"probekit-{NOBODY}"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    home.chmod(0o500)
    with Worker(public, uid=NOBODY) as worker:
        assert alone(worker) == f"{public}: Permission denied"
    home.chmod(0)
    with Worker(public, uid=NOBODY) as worker:
        assert alone(worker) == f"{public}: Permission denied"


@as_root
def test_a_base_of_another_user_is_refused(public: Path) -> None:
    """Whoever owns it could rename what is in it, and drain or open the server by that."""
    os.chown(public, NOBODY, NOBODY)
    with Worker(public) as worker:
        assert "belongs to user" in alone(worker)


def mounted(*commands: str) -> tuple[str, ...]:
    """Return the command that starts another with these mounts of its own, or skip the test."""
    script = " && ".join([*commands, 'exec "$@"'])
    return *namespaces("mount"), "sh", "-c", script, "sh"


def little_room(directory: Path) -> tuple[str, ...]:
    """Return the same with a file system at ``directory`` that is soon full."""
    return mounted(f"mount -t tmpfs -o size=16k,nr_inodes=50 none {directory}")


READ_ONLY = [
    "mount -o remount,bind,ro /",
    *(f"{{ mount -o remount,bind,ro {path} || :; }} 2>&-" for path in ("/tmp", "/var/tmp")),
    "cd /",
]


def test_a_read_only_directory_is_no_place(runtime: Path) -> None:
    """One that was named, and is mounted without the right to write."""
    with Worker(runtime, before=mounted(f"mount -t tmpfs -o ro none {runtime}")) as worker:
        assert alone(worker) == f"{runtime}: Read-only file system"


def test_the_next_place_is_taken_where_one_cannot_be_written(runtime: Path) -> None:
    """And nobody complains."""
    memory = mounted("mount -t tmpfs -o ro none /dev/shm")
    with Worker(None, before=memory, XDG_RUNTIME_DIR=str(runtime)) as worker:
        path, obstacle = worker.ask("path")
        assert (path.startswith(f"{runtime}/probekit-"), obstacle) == (True, None)
        assert worker.log() == ""


def test_nothing_that_can_be_written_anywhere_is_no_failure() -> None:
    """As in a hardened container without memory of its own: the worker goes on by itself."""
    memory = "mount -t tmpfs -o ro none /dev/shm"
    with Worker(None, before=mounted(memory, *READ_ONLY)) as worker:
        assert alone(worker)


def test_each_place_that_was_tried_is_told() -> None:
    """Whoever reads the line knows which of them to repair."""
    memory = "mount -t tmpfs -o ro none /dev/shm"
    with Worker(None, before=mounted(memory, *READ_ONLY)) as worker:
        assert "/dev/shm: Read-only file system" in worker.ask("path")[1]


def test_memory_is_enough_where_there_is_no_temp_directory() -> None:
    """A container with a read-only root has /dev/shm, and often nothing else."""
    memory = "mount -t tmpfs none /dev/shm"
    with Worker(None, before=mounted(memory, *READ_ONLY)) as worker:
        path, obstacle = worker.ask("path")
        assert obstacle is None
        assert path.startswith("/dev/shm/probekit-0/")


def test_a_full_file_system_leaves_the_last_good_state(runtime: Path) -> None:
    """The worker that was asked drains alone, says so once, and nothing is left half written."""
    with Worker(runtime, before=little_room(runtime)) as worker:
        worker.ask("drain", reason="first")
        before = worker.ask("files")
        worker.ask("fill")
        for _ in range(3):
            assert worker.ask("drain", reason="second" * 30) == "second" * 30
            assert worker.ask("announce") is not None
        assert worker.ask("files")["app.drain.json"] == before["app.drain.json"]
        assert not [name for name in worker.ask("files") if name.startswith(".")]
        assert worker.ask("ask", "GET", "/readyz")[0] == 503
        assert (
            worker.log().count("No space left on device; this worker alone knows of the drain") == 1
        )
        assert "Traceback" not in worker.log()


def test_a_drain_that_could_not_be_shared_says_so_in_the_answer(runtime: Path) -> None:
    """Whoever sent the POST does not read the log."""
    with Worker(runtime, before=little_room(runtime)) as worker:
        worker.ask("path")
        worker.ask("fill")
        shown = worker.ask("ask", "POST", "/admin/drain")[1]
        assert shown["draining"] is not None
        assert shown["scope_reason"] is not None


def test_a_drain_that_could_not_be_shared_is_shared_when_it_can_be(runtime: Path) -> None:
    """The file system has room again, and the worker's next look writes what it knows."""
    with Worker(runtime, before=little_room(runtime)) as worker:
        worker.ask("path")
        worker.ask("fill")
        worker.ask("drain", reason="deploy")
        assert "app.drain.waits" in worker.ask("files")
        worker.ask("make_room")

        def written() -> bool:
            worker.ask("announce")
            return "app.drain.json" in worker.ask("files")

        wait_until(written, "what the worker knows", patience=2)
        assert "app.drain.waits" not in worker.ask("files")
        shown = worker.ask("ask", "GET", "/admin/drain")[1]
        assert (shown["scope"], shown["scope_reason"]) == ("container", None)
        assert shown["draining"]["reason"] == "deploy"


def test_a_drain_that_could_not_be_shared_ends_with_a_word_from_another(runtime: Path) -> None:
    """A DELETE that met a worker which never heard of the drain, while there was no room."""
    with Worker(runtime, before=little_room(runtime)) as worker:
        worker.ask("path")
        worker.ask("fill")
        worker.ask("drain", reason="deploy")
        beside = (
            "nsenter",
            f"--target={worker.pid}",
            "--preserve-credentials",
            "--user",
            "--mount",
        )
        with Worker(runtime, before=beside) as other:
            assert other.ask("path")[0] == worker.ask("path")[0]
            assert other.ask("reason") is None
            assert other.ask("undrain") is None
            worker.ask("make_room")
            agree(None, worker, other)
            assert list(worker.ask("files")) == []
