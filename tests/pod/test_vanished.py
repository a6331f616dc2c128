"""A directory that somebody removes while it is in use."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from ._workers import Worker, agree, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Starting = Callable[..., Worker]


def test_a_directory_that_somebody_removes_is_made_anew(runtime: Path, worker: Starting) -> None:
    """The drain survives, in every worker and for those to come, and each says it once."""
    one, two = worker(), worker()
    one.ask("drain", reason="deploy")
    assert two.ask("reason") == "deploy"
    for _ in range(3):
        shutil.rmtree(runtime / f"probekit-{os.geteuid()}")
        for _ in range(2):  # the first time it is gone
            one.ask("announce")
            two.ask("announce")
        agree("deploy", one, two, worker())
        assert {*one.ask("pids")} == {one.pid, two.pid}
    assert two.ask("ask", "GET", "/readyz")[0] == 503
    agree("deploy", two)
    two.ask("undrain")
    agree(None, one)
    for each in (one, two):
        assert each.log().count("somebody has removed") == 1
        assert "Traceback" not in each.log()


def test_a_directory_that_is_gone_when_the_switch_is_turned_is_made_anew(
    runtime: Path, worker: Starting
) -> None:
    """The POST is not lost."""
    one, two = worker(), worker()
    assert (one.ask("reason"), two.ask("reason")) == (None, None)
    shutil.rmtree(runtime / f"probekit-{os.geteuid()}")
    one.ask("drain", reason="deploy")
    two.ask("announce")
    agree("deploy", two)


def test_a_directory_that_cannot_be_made_anew_leaves_each_to_itself(
    runtime: Path, worker: Starting
) -> None:
    """The drain stands where it was known, and can be ended there."""
    one = worker()
    one.ask("drain", reason="deploy")
    shutil.rmtree(runtime)
    for _ in range(3):
        one.ask("announce")
        assert one.ask("reason") == "deploy"
    status, shown = one.ask("ask", "GET", "/admin/drain")
    assert (status, shown["scope"]) == (200, "process")
    assert "No such file or directory" in shown["scope_reason"]
    assert one.ask("ask", "GET", "/readyz")[0] == 503
    assert one.ask("undrain") is None
    assert "Traceback" not in one.log()


def test_an_end_is_not_undone_by_one_who_notices_later(runtime: Path, worker: Starting) -> None:
    """The directory is removed, one worker makes it anew, and the drain is ended there."""
    one, two = worker(), worker()
    one.ask("drain", reason="deploy")
    assert two.ask("reason") == "deploy"
    shutil.rmtree(runtime / f"probekit-{os.geteuid()}")
    one.ask("announce")
    one.ask("undrain")
    two.ask("announce")
    agree(None, one, two)


def test_two_machines_that_share_a_directory_leave_each_other_alone(runtime: Path) -> None:
    """As two light virtual machines of one host do, each of which has booted by itself."""
    other_boot = runtime / "boot"
    other_boot.write_text("00000000-0000-0000-0000-000000000000\n")
    script = f'mount --bind {other_boot} /proc/sys/kernel/random/boot_id && exec "$@"'
    elsewhere = (*namespaces("mount"), "sh", "-c", script, "sh")
    with Worker(runtime) as here, Worker(runtime, before=elsewhere) as there:
        here.ask("announce")
        there.ask("announce")
        for _ in range(3):
            assert here.ask("announce") == [here.pid]
            assert len(there.ask("announce")) == 1
        assert (here.log(), there.log()) == ("", "")
