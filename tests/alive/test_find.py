"""Which directories are pods whose server lives, and which are none."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle.pod.find import living_pods
from probekit._lifecycle.pod.key import Key, start_time
from probekit._lifecycle.pod.master import find_key
from tests.pod._workers import (
    NOBODY,
    Worker,
    descriptors,
    namespaces,
    open_to_all,
    pod_environment,
)
from tests.waiting import PATIENCE

from ._stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable


def found(runtime: Path) -> tuple[list[str], list[str]]:
    """Return the names of the pods, and what was passed over."""
    with living_pods({"PROBEKIT_RUNTIME_DIR": str(runtime)}) as pods:
        return [Path(path).name for path in pods.directories], pods.passed_over


def home(runtime: Path) -> Path:
    return runtime / f"probekit-{os.geteuid()}"


def test_every_pod_whose_master_lives_is_found(runtime: Path) -> None:
    """Two servers of one container are two pods."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        started = start_time(process.pid)
        assert started is not None
        other = find_key()._replace(pid=process.pid, started=started)
        with Stage(runtime) as one, Stage(runtime, other) as two:
            one.worker(process.pid, stuck_after=60.0)
            two.worker(process.pid, stuck="a lock", stuck_after=60.0)
            assert [*map(set, found(runtime))] == [{str(find_key()), str(other)}, set()]
            assert one.judged().message.startswith("1 of 2 workers stuck: ")
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_what_is_of_another_boot_or_namespace_or_has_ended_is_passed_over(runtime: Path) -> None:
    """Its process ids are those of other processes, or of none."""
    key = find_key()
    for other in (
        key._replace(boot="00000000"),
        key._replace(namespace=7),
        key._replace(started=key.started + 1),
        key._replace(pid=2**22 + 1),
    ):
        (home(runtime) / str(other)).mkdir(mode=0o700, parents=True)
    (home(runtime) / "notes").mkdir()
    assert found(runtime) == (
        [],
        [
            f"{home(runtime)}: 2 of another boot or process namespace",
            f"{home(runtime)}: 2 of servers that have ended",
        ],
    )


def test_where_there_is_none_the_message_says_what_to_do(runtime: Path) -> None:
    """It is read at night, by somebody who has set it up a minute ago."""
    with Stage(runtime, Key("00000000", 7, 7, 7)) as stage:
        judgement = stage.judged()
    assert not judgement.alive
    assert judgement.message.startswith("no pod of probekit is running here; is the service up, ")
    assert judgement.passed_over == (f"{home(runtime)}: 1 of another boot or process namespace",)


def nothing(path: Path) -> None:
    """Make nothing."""


def empty(path: Path) -> None:
    path.mkdir(0o700)


def link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)


def file(path: Path) -> None:
    path.write_text("")


def open_to_others(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def of_another(path: Path) -> None:
    path.mkdir(0o700)
    try:
        os.chown(path, NOBODY, NOBODY)
    except PermissionError:
        pytest.skip("only root gives directories away")


REFUSED = [
    (link, "Too many levels of symbolic links|Not a directory"),
    (file, "Not a directory"),
    (open_to_others, "others may write to .*, whose mode is 770"),
    (of_another, f".* belongs to user {NOBODY}, not to {os.geteuid()}"),
]


@pytest.mark.parametrize(
    ("make", "reason"),
    [*REFUSED, (nothing, "No such file or directory"), (empty, "empty")],
)
def test_a_home_that_is_none_of_ours_is_passed_over(
    make: Callable[[Path], None], reason: str, runtime: Path
) -> None:
    """Somebody else could have put workers there that are always well, and nothing is mended."""
    make(home(runtime))
    before = home(runtime).lstat() if make is not nothing else None
    names, [passed_over] = found(runtime)
    assert names == []
    matches(passed_over, f"{home(runtime)}: ({reason})")
    after = home(runtime).lstat() if make is not nothing else None
    assert (before and stat.S_IMODE(before.st_mode)) == (after and stat.S_IMODE(after.st_mode))


def matches(text: str, pattern: str) -> None:
    assert re.fullmatch(pattern, text), text


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_a_pod_that_is_none_of_ours_is_passed_over(
    make: Callable[[Path], None], reason: str, runtime: Path
) -> None:
    """Its name alone makes nothing a pod."""
    home(runtime).mkdir(0o700)
    make(home(runtime) / str(find_key()))
    names, [passed_over] = found(runtime)
    assert names == []
    matches(passed_over, f"{home(runtime)}/{find_key()}: ({reason})")


def test_a_base_that_is_a_link_is_passed_over(runtime: Path, tmp_path: Path) -> None:
    """As a server would not have used it."""
    base = tmp_path / "base"
    base.symlink_to(runtime)
    names, [passed_over] = found(base)
    assert names == []
    assert passed_over.endswith(f"{base} is a symbolic link")


@pytest.mark.skipif(os.geteuid() != 0, reason="in a namespace of its own, this user is root")
def test_the_next_base_is_looked_into_where_the_first_has_no_pod(runtime: Path) -> None:
    """A server that could not make its directory in memory has it in the session's."""
    with Stage(runtime) as stage:
        stage.worker(os.getpid(), stuck_after=60.0)
        script = 'mount -t tmpfs none /dev/shm && exec "$@"'
        command = [*namespaces("mount"), "sh", "-c", script, "sh", sys.executable, "-m", "probekit"]
        environment = pod_environment(None, XDG_RUNTIME_DIR=str(runtime))
        done = subprocess.run(
            [*command, "alive", "--pod"],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.stdout.endswith("\nalive: 1 of 1 workers alive\n")


def test_no_descriptor_is_left_open(runtime: Path) -> None:
    """Neither by a pod nor by what is none."""
    with Stage(runtime):
        open_to_others(home(runtime) / str(Key("1", 1, 1, 1)))
        before = descriptors()
        for _ in range(5):
            found(runtime)
            found(runtime / "nowhere")
        assert descriptors() == before


def test_another_container_is_not_judged(runtime: Path) -> None:
    """Of what runs in another process namespace nothing can be told from here, nor vice versa."""
    with Worker(runtime) as here, Worker(runtime, before=namespaces("pid")) as there:
        assert here.ask("announce") == [here.pid]
        assert len(there.ask("announce")) == 1
        names, passed_over = found(runtime)
        assert names == [str(find_key("container"))]
        assert passed_over == [f"{home(runtime)}: 1 of another boot or process namespace"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_another_user_is_not_judged() -> None:
    """Each has a directory of their own, and looks into no other."""
    with open_to_all() as base:
        base.chmod(0o1777)
        with Worker(base, uid=NOBODY) as other:
            assert other.ask("announce") == [other.pid]
            names, passed_over = found(base)
            assert names == []
            assert passed_over == [f"{home(base)}: No such file or directory"]
