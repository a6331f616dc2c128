"""Files that are read whole or not at all, and locks that end with their process."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle.pod import files
from tests.waiting import PATIENCE

from ._workers import descriptors, names_in, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._workers import Worker

KILLS = 120


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """An open directory."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_what_is_written_is_read(directory: int, tmp_path: Path) -> None:
    """Whatever JSON can say, in a file that is the user's alone."""
    files.write(directory, "a", {"reason": 'ü "x" \U0001f600', "deadline": 0.1 + 0.2, "none": None})
    files.write(directory, "a", {"reason": "second", "deadline": 1e300})
    assert files.read(directory, "a") == {"version": 1, "reason": "second", "deadline": 1e300}
    assert names_in(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_what_is_not_there_is_none(directory: int) -> None:
    """To remove it is no failure either."""
    files.remove(directory, "a")
    assert files.read(directory, "a") is None
    files.write(directory, "a", {})
    files.remove(directory, "a")
    assert files.read(directory, "a") is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "a holds no JSON"),
        (b'{"version": 1, "reas', "a holds no JSON"),
        (b"\xff\xfe\x00", "a holds no JSON"),
        (b"[" * 60_000, "a holds no JSON"),
        (b'{"version": 1, "x": "' + b"y" * files.LONGEST + b'"}', "a holds no JSON"),
        (b"9" * 5000, "a holds no JSON"),
        (b"[]", "a is of version None, not 1"),
        (b"{}", "a is of version None, not 1"),
        (b'{"version": 2}', "a is of version 2, not 1"),
        (b'{"version": "1"}', "a is of version '1', not 1"),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_what_probekit_has_not_written_is_foreign(
    content: bytes, what: str, directory: int, tmp_path: Path
) -> None:
    """Cut off, of another version, or anybody else's."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(files.ForeignError, match=f"^{what}"):
        files.read(directory, "a")


def test_a_link_is_not_followed(directory: int, tmp_path: Path) -> None:
    """Neither to read, nor to write, nor for a lock, which somebody might hold then."""
    target = tmp_path / "target"
    target.write_text('{"version": 1}')
    for name in ("a", "b.lock"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        files.read(directory, "a")
    files.write(directory, "a", {"reason": "own"})
    assert not (tmp_path / "a").is_symlink()
    assert target.read_text() == '{"version": 1}'
    with pytest.raises(OSError, match="symbolic links"):
        files.lock(directory, "b.lock")
    assert files.is_locked(directory, "b.lock")
    with pytest.raises(OSError, match="symbolic links"):
        files.bury(directory, "b.lock", "target")
    assert names_in(tmp_path) == ["a", "b.lock", "target"]


def test_a_file_that_may_not_grow_leaves_the_old_one(directory: int, tmp_path: Path) -> None:
    """As one on a file system that is full: it takes what it has room for, and no more."""
    files.write(directory, "a", {"reason": "old"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(OSError, match="No space left") as failed:
            files.write(directory, "a", {"reason": "new"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert failed.value.errno == errno.ENOSPC
    assert files.read(directory, "a") == {"version": 1, "reason": "old"}
    assert names_in(tmp_path) == ["a"]


def test_a_directory_that_is_gone_fails_as_a_whole(tmp_path: Path) -> None:
    """Nothing can be written there, and nothing is there to be read."""
    gone = tmp_path / "gone"
    gone.mkdir()
    descriptor = os.open(gone, os.O_RDONLY)
    try:
        gone.rmdir()
        with pytest.raises(FileNotFoundError):
            files.write(descriptor, "a", {})
        assert files.read(descriptor, "a") is None
        assert not files.is_locked(descriptor, "a")
        with pytest.raises(FileNotFoundError):
            files.lock(descriptor, "a")
    finally:
        os.close(descriptor)


def test_each_change_is_seen_once(directory: int, tmp_path: Path) -> None:
    """A file that comes, one in its place of the same length, and none again."""
    watched = files.Watched("a")
    watched.changed(directory)
    assert not watched.changed(directory)
    for reason in ("one", "two", "one"):
        files.write(directory, "a", {"reason": reason})
        assert [watched.changed(directory) for _ in range(3)] == [True, False, False]
    assert names_in(tmp_path) == ["a"]
    files.remove(directory, "a")
    assert [watched.changed(directory) for _ in range(3)] == [True, False, False]


def test_a_change_among_many_is_seen(directory: int) -> None:
    """However fast they follow one another, on a file system that gives numbers out again."""
    watched = files.Watched("a")
    missed = 0
    for number in range(2000):
        files.write(directory, "a", {"number": number % 10})
        missed += not watched.changed(directory)
    assert missed == 0


# -- locks ------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one(directory: int) -> None:
    """Until its descriptor is closed, and whoever looks takes it from nobody."""
    held = files.lock(directory, "a.lock")
    assert held is not None
    assert files.lock(directory, "a.lock") is None
    assert files.is_locked(directory, "a.lock")
    assert files.lock(directory, "a.lock") is None
    os.close(held)
    assert not files.is_locked(directory, "a.lock")
    again = files.lock(directory, "a.lock")
    assert again is not None
    os.close(again)
    assert not files.is_locked(directory, "b.lock")


def test_a_lock_whose_holder_is_gone_is_removed_with_its_files(
    directory: int, tmp_path: Path
) -> None:
    """And one that is held, with its files, is not; none is as good as removed."""
    held = files.lock(directory, "a.lock")
    assert held is not None
    for name in ("a", "b"):
        files.write(directory, name, {})
    assert not files.bury(directory, "a.lock", "a", "b")
    assert names_in(tmp_path) == ["a", "a.lock", "b"]
    os.close(held)
    assert files.bury(directory, "a.lock", "a", "nothing")
    assert names_in(tmp_path) == ["b"]
    assert files.bury(directory, "a.lock", "b")
    assert names_in(tmp_path) == ["b"]


def test_an_open_file_stands_while_it_has_its_name(directory: int, tmp_path: Path) -> None:
    """Not when it has none any more, nor when another one has it."""
    with (tmp_path / "a").open("w") as file:
        assert files.stands(directory, "a", file.fileno())
        (tmp_path / "a").unlink()
        assert not files.stands(directory, "a", file.fileno())
        (tmp_path / "a").touch()
        assert not files.stands(directory, "a", file.fileno())


def test_a_lock_that_is_held_can_be_seen_however_many_bury_it(directory: int) -> None:
    """Whoever takes it for a dead one's removes it in the moment before it is held."""
    over = threading.Event()

    def bury() -> None:
        while not over.is_set():
            files.bury(directory, "a.lock")

    threads = [threading.Thread(target=bury) for _ in range(2)]
    interval, held, hidden = sys.getswitchinterval(), 0, 0
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(5000):
            descriptor = files.lock(directory, "a.lock")
            if descriptor is not None:
                held += 1
                hidden += not files.stands(directory, "a.lock", descriptor)
                os.close(descriptor)
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        sys.setswitchinterval(interval)
    assert held > 100
    assert hidden == 0


def test_looking_leaves_no_descriptor_open(directory: int) -> None:
    """Neither at a lock nor at a file, whether it can be had or not."""
    held = files.lock(directory, "a.lock")
    before = descriptors()
    for _ in range(50):
        files.is_locked(directory, "a.lock")
        files.lock(directory, "a.lock")
        files.write(directory, "a", {})
        files.read(directory, "a")
    assert descriptors() == before
    assert held is not None
    os.close(held)


# -- kill -9 ----------------------------------------------------------------------------------


@pytest.mark.timeout(90)
def test_a_worker_that_is_killed_in_the_middle_of_writing_leaves_a_whole_state(
    worker: Callable[..., Worker],
) -> None:
    """120 of them: at any moment, with half of it written, and before it is in its place.

    Others read all the while and never see half a file.
    """
    readers = [worker() for _ in range(2)]
    directory = Path(readers[0].ask("path")[0])
    began = time.monotonic()
    for reader in readers:
        reader.send("read_until", str(directory / "stop"))
    writer = worker()
    writer.ask("path")
    writer.send("kill_writers", KILLS, random.randrange(2**32))
    killed, halved = writer.receive()
    (directory / "stop").touch()
    counts = [reader.receive() for reader in readers]
    whole, broken = (sum(column) for column in zip(*counts, strict=True))
    say(f"{killed} kills in {time.monotonic() - began:.1f} s, {whole} reads, {broken} broken")
    assert killed == KILLS
    assert broken == 0
    assert whole > 1000
    last = json.loads((directory / "app.drain.json").read_text())
    assert len(last["reason"]) == int(last["by"])
    assert readers[0].ask("reason") == last["reason"]
    say(f"{halved} were killed with a draft in hand")
    assert halved >= KILLS * 2 // 3


def test_what_a_killed_writer_left_is_cleared_away(worker: Callable[..., Worker]) -> None:
    """A worker that is killed again and again must not fill the memory."""
    writer = worker()
    directory = Path(writer.ask("path")[0])
    writer.ask("kill_writers", 50, 1)
    with subprocess.Popen(["/bin/true"]) as dead:
        dead.wait(PATIENCE)
    for pid in (writer.pid, dead.pid):
        (directory / f".app.drain.json.{pid}.99").touch()
    worker().ask("announce")
    drafts = [name for name in names_in(directory) if name.startswith(".")]
    assert drafts == [f".app.drain.json.{writer.pid}.99"], "it lives, and may be writing"
