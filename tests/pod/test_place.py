"""Where the shared state lies, and what is cleared away there."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle.pod.files import lock
from probekit._lifecycle.pod.master import find_key
from probekit._lifecycle.pod.place import (
    FORGOTTEN_AFTER,
    NoPlaceError,
    candidates,
    check_base,
    open_directory,
    remove_forgotten,
)
from tests.waiting import PATIENCE

from ._workers import descriptors, names_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.pod.key import Key


@pytest.fixture
def key() -> Key:
    """The key of the test's own process."""
    return find_key()


def opened(key: Key, base: Path | str) -> str:
    """Open the directory below ``base``, and return its path."""
    directory = open_directory(key, {"PROBEKIT_RUNTIME_DIR": str(base)})
    os.close(directory.descriptor)
    return directory.path


def test_memory_comes_first_and_the_temp_directory_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the session has for this comes in between, if it has."""
    monkeypatch.setattr(tempfile, "tempdir", "/somewhere/tmp")
    assert [*candidates({})] == ["/dev/shm", "/somewhere/tmp"]
    session = {"XDG_RUNTIME_DIR": "/run/user/1"}
    assert [*candidates(session)] == ["/dev/shm", "/run/user/1", "/somewhere/tmp"]
    assert [*candidates({"XDG_RUNTIME_DIR": ""})] == ["/dev/shm", "/somewhere/tmp"]


def test_a_directory_that_is_named_is_the_only_one() -> None:
    """Nobody who names one wants another."""
    named = {"PROBEKIT_RUNTIME_DIR": "/a", "XDG_RUNTIME_DIR": "/b"}
    assert [*candidates(named)] == ["/a"]


def test_it_is_found_again_and_open_to_its_user_alone(key: Key, runtime: Path) -> None:
    """Whoever has the same key comes to the same directory, closed like the one above it."""
    path = Path(opened(key, runtime))
    assert opened(key, runtime) == str(path) == f"{runtime}/probekit-{os.geteuid()}/{key}"
    for each in (path, path.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
        assert each.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o750, 0o701])
@pytest.mark.parametrize("which", ["home", "own"])
def test_one_that_is_open_to_others_is_closed(
    mode: int, which: str, key: Key, runtime: Path
) -> None:
    """It is this user's, so nobody else can have asked for that mode."""
    home = runtime / f"probekit-{os.geteuid()}"
    directory = home if which == "home" else home / str(key)
    directory.mkdir(parents=True)
    directory.chmod(mode)
    opened(key, runtime)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def link(path: Path) -> None:
    path.symlink_to(path.parent)


def file(path: Path) -> None:
    path.write_text("")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def missing(path: Path) -> None:
    """Make nothing."""


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link, "{base} is a symbolic link"),
        (dangling, "{base} is a symbolic link"),
        (file, "{base} is no directory"),
        (fifo, "{base} is no directory"),
        (missing, "No such file or directory"),
    ],
)
def test_a_base_that_is_none_is_refused(
    make: Callable[[Path], object], reason: str, key: Key, tmp_path: Path
) -> None:
    """Nothing is made in it, and the message says why."""
    base = tmp_path / "base"
    make(base)
    with pytest.raises(NoPlaceError) as refused:
        opened(key, base)
    assert str(refused.value) == f"{base}: {reason.format(base=base)}"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link, "Too many levels of symbolic links|Not a directory"),
        (dangling, "Too many levels of symbolic links|Not a directory"),
        (file, "Not a directory"),
        (fifo, "Not a directory"),
    ],
)
@pytest.mark.parametrize("which", ["home", "own"])
def test_what_stands_in_its_place_is_not_used(
    make: Callable[[Path], object], reason: str, which: str, key: Key, runtime: Path
) -> None:
    """A link that somebody has put there is not followed."""
    path = runtime / f"probekit-{os.geteuid()}"
    if which == "own":
        path.mkdir()
        path /= str(key)
    make(path)
    with pytest.raises(NoPlaceError, match=reason):
        opened(key, runtime)


def test_a_directory_with_a_sticky_bit_is_as_good_as_the_temp_directory(
    key: Key, runtime: Path
) -> None:
    """Nobody but the owner can rename what is in it."""
    runtime.chmod(0o1777)
    assert opened(key, runtime)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o2770])
def test_one_without_a_sticky_bit_is_used_only_if_the_operator_has_named_it(
    mode: int, key: Key, runtime: Path
) -> None:
    """All of a pod may write to a volume of Kubernetes; nobody vouches for another directory."""
    runtime.chmod(mode)
    assert opened(key, runtime)
    with pytest.raises(PermissionError) as refused:
        check_base(str(runtime), trusted=False)
    assert str(refused.value) == f"others may rename what is in {runtime}; it has no sticky bit"


@pytest.mark.parametrize("mode", [0o1777, 0o1770, 0o755, 0o700])
def test_one_in_which_nobody_else_can_rename_anything_is_used_without_being_named(
    mode: int, runtime: Path
) -> None:
    """As the temp directory is."""
    runtime.chmod(mode)
    check_base(str(runtime), trusted=False)


def test_whoever_comes_first_is_told_that_it_made_the_directory(key: Key, runtime: Path) -> None:
    """Nobody else has anything to write into it anew."""
    made = []
    for _ in range(2):
        directory = open_directory(key, {"PROBEKIT_RUNTIME_DIR": str(runtime)})
        os.close(directory.descriptor)
        made.append(directory.made)
    assert made == [True, False]


def test_no_descriptor_is_left_open(key: Key, runtime: Path, tmp_path: Path) -> None:
    """Neither by a success nor by a failure."""
    before = descriptors()
    for _ in range(20):
        opened(key, runtime)
        with pytest.raises(NoPlaceError):
            opened(key, tmp_path / "nowhere")
    (runtime / f"probekit-{os.geteuid()}" / str(key)).rmdir()
    file(runtime / f"probekit-{os.geteuid()}" / str(key))
    with pytest.raises(NoPlaceError):
        opened(key, runtime)
    assert descriptors() == before


# -- what is cleared away ---------------------------------------------------------------------


def left_behind(runtime: Path, key: Key, *, age: float = 0.0) -> Path:
    """Make a directory with files in it, as a server leaves it."""
    path = runtime / f"probekit-{os.geteuid()}" / str(key)
    path.mkdir(parents=True, mode=0o700)
    for name in ("app.drain.json", "app.7.worker", "app.7.lock", ".app.drain.json.7.0"):
        (path / name).write_text("{}")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_one_that_cannot_be_closed_to_others_is_not_used(
    key: Key, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that knows no modes; nothing stays open."""
    Path(opened(key, runtime)).chmod(0o755)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = descriptors()
    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(NoPlaceError, match="not permitted"):
        opened(key, runtime)
    assert descriptors() == before


def test_what_dead_masters_left_is_removed(key: Key, runtime: Path) -> None:
    """Whether the number is nobody's now or somebody else's."""
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait(PATIENCE)
    dead = left_behind(runtime, key._replace(pid=process.pid))
    given_again = left_behind(runtime, key._replace(started=key.started - 1))
    opened(key, runtime)
    assert (dead.exists(), given_again.exists()) == (False, False)


def test_what_a_living_master_has_is_kept(key: Key, runtime: Path) -> None:
    """However long it has said nothing."""
    parent = key._replace(pid=1, started=find_key("container").started)
    kept = left_behind(runtime, parent, age=10 * FORGOTTEN_AFTER)
    own = left_behind(runtime, key, age=10 * FORGOTTEN_AFTER)
    opened(key, runtime)
    assert (kept.exists(), (own / "app.drain.json").exists()) == (True, True)


@pytest.mark.parametrize("where", ["another container", "another boot"])
@pytest.mark.parametrize(
    ("age", "alive", "kept"),
    [
        (0.0, False, True),
        (FORGOTTEN_AFTER - 60, False, True),
        (FORGOTTEN_AFTER + 60, False, False),
        (FORGOTTEN_AFTER + 60, True, True),
    ],
)
def test_what_is_elsewhere_is_forgotten_when_nobody_is_there(
    age: float, alive: bool, kept: bool, where: str, key: Key, runtime: Path
) -> None:
    """Its processes cannot be seen, but its locks can, and when it last wrote.

    Another boot may be long ago, or that of a virtual machine that shares the directory.
    """
    other = {"another container": {"namespace": key.namespace + 1}}.get(where, {"boot": "00000000"})
    path = left_behind(runtime, key._replace(**other), age=age)
    directory = os.open(path, os.O_RDONLY)
    try:
        descriptor = lock(directory, "app.7.lock") if alive else None
        opened(key, runtime)
        assert path.exists() == kept
        if descriptor is not None:
            os.close(descriptor)
    finally:
        os.close(directory)


def test_what_is_not_probekits_is_left_alone(key: Key, runtime: Path) -> None:
    """Names that are no key, and what a link points to."""
    home = runtime / f"probekit-{os.geteuid()}"
    home.mkdir(mode=0o700)
    (home / "notes").mkdir()
    elsewhere = runtime / "elsewhere"
    elsewhere.mkdir()
    file(elsewhere / "precious")
    (home / str(key._replace(boot="00000000"))).symlink_to(elsewhere)
    nested = left_behind(runtime, key._replace(started=key.started - 1))
    (nested / "directory").mkdir()
    opened(key, runtime)
    assert (home / "notes").exists()
    assert (elsewhere / "precious").exists()
    assert nested.exists()


def test_one_that_two_remove_at_once_is_no_failure(key: Key, runtime: Path) -> None:
    """Workers start together, and each clears up."""
    path = left_behind(runtime, key._replace(started=key.started - 1))
    home = os.open(path.parent, os.O_RDONLY)
    try:
        for name in names_in(path):
            (path / name).unlink()
        path.rmdir()
        (path.parent / "abcd-1-2-3").write_text("")
        remove_forgotten(home, key)
    finally:
        os.close(home)
    assert (path.parent / "abcd-1-2-3").exists()
