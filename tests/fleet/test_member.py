"""Who of a pod's workers watches, and what is shared with the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit import Probes
from probekit._core.model import Drain
from probekit._fleet.member import same
from probekit._lifecycle.pod.leader import Leadership
from probekit._lifecycle.pod.pod import Pod, Shared
from probekit.fleet import Fleet
from tests.waiting import wait_until

from ._service import serving

if TYPE_CHECKING:
    from tests.checks._servers import RedisServer

CONTENDER = """
import os, sys
from probekit._lifecycle.pod.leader import Leadership
from probekit._lifecycle.pod.pod import Pod

leadership = Leadership(Pod(name="app", environment=os.environ), purpose="fleet")
print(leadership.take(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where processes without a common server share their state."""
    return {"PROBEKIT_SCOPE": "container", "PROBEKIT_RUNTIME_DIR": str(tmp_path)}


def contender(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start another process that wants to lead."""
    return subprocess.Popen(
        [sys.executable, "-c", CONTENDER],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    """Return the next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestLeadership:
    def test_one_process_leads(self, environment: dict[str, str]) -> None:
        """Another gets the lead when the first one is killed, not before."""
        leadership = Leadership(Pod(name="app", environment=environment), purpose="fleet")
        with contender(environment) as other:
            assert says(other) == "True"
            assert not leadership.take()
            assert not leadership.take()
            other.kill()
        assert leadership.take()
        assert leadership.take()
        with contender(environment) as other:
            assert says(other) == "False"
            other.kill()
        leadership.release()
        leadership.release()
        with contender(environment) as other:
            assert says(other) == "True"
            other.kill()

    def test_a_child_that_is_forked_does_not_keep_it(self, environment: dict[str, str]) -> None:
        """Nor does the child itself lead; its parent goes on doing so."""
        leadership = Leadership(Pod(name="app", environment=environment), purpose="fleet")
        assert leadership.take()
        if (pid := os.fork()) == 0:
            os._exit(1 if leadership.take() else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with contender(environment) as other:
            assert says(other) == "False"
            other.kill()

    def test_a_directory_that_vanished_is_taken_again(self, environment: dict[str, str]) -> None:
        """A lock that nobody else can see is worth nothing."""
        pod = Pod(name="app", environment=environment)
        leadership = Leadership(pod, purpose="fleet")
        assert leadership.take()
        assert pod.path is not None
        shutil.rmtree(pod.path)
        assert pod.write("fleet", Shared(Drain(since=1), 1e9))
        assert leadership.take()
        with contender(environment) as other:
            assert says(other) == "False"
            other.kill()

    def test_who_is_alone_leads(self) -> None:
        """Without a directory each process watches for itself."""
        pod = Pod(name="app", environment={"PROBEKIT_SCOPE": "process"})
        assert Leadership(pod, purpose="fleet").take()
        assert pod.key == f"{os.getpid()}/app"

    def test_where_there_can_be_no_lock_each_leads(self, environment: dict[str, str]) -> None:
        """Something odd in the place of the file deafens nobody."""
        pod = Pod(name="app", environment=environment)
        assert pod.directory is not None
        assert pod.path is not None
        Path(pod.path, "app.fleet-leader").mkdir()
        assert Leadership(pod, purpose="fleet").take()


class TestMember:
    def test_only_the_elected_one_watches(
        self, redis: RedisServer, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It begins when the other process is killed, and hears the switch."""
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        probes = Probes(name="other", drain_delay=0, observers=[])
        fleet = Fleet(redis.url, app="shop").join(probes)
        code = CONTENDER.replace('"app"', f'"{probes.service.pod.name}"')
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as leader:
            assert says(leader) == "True"
            with serving(probes):
                wait_until(lambda: bool(probes.service.pod.workers()), "it is kept")
                assert fleet.drain().told == 0
                leader.kill()
                wait_until(lambda: probes.draining is not None, "it drains", patience=2)

    def test_who_leads_no_more_watches_no_more(
        self, redis: RedisServer, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When its directory vanished and another process was faster, there is one watcher."""
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        probes = Probes(name="lost", drain_delay=0, observers=[])
        fleet = Fleet(redis.url, app="shop").join(probes)
        pod = probes.service.pod
        with serving(probes):
            wait_until(lambda: fleet.undrain().told == 1, "it watches")
            assert pod.path is not None
            path = Path(pod.path, f"{pod.name}.fleet-leader")
            code = CONTENDER.replace('"app"', f'"{pod.name}"')
            with subprocess.Popen(
                [sys.executable, "-c", f"import os\nos.unlink({str(path)!r})\n{code}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as leader:
                assert says(leader) == "True"
                wait_until(lambda: fleet.undrain().told == 0, "it watches no more")
                leader.kill()
            wait_until(lambda: fleet.undrain().told == 1, "it watches again")


WORD = Shared(Drain(since=1.0, reason="a", until=10.0), 100.0)


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        (WORD, True),
        (Shared(Drain(since=1.0, reason="a", until=10.1), 100.1), True),
        (Shared(Drain(since=1.0, reason="a", until=11.0), 101.0), False),
        (Shared(Drain(since=1.0, reason="a"), float("inf")), False),
        (Shared(Drain(since=1.0, reason="b", until=10.0), 100.0), False),
        (None, False),
    ],
)
def test_two_readings_of_one_word(other: Shared | None, *, equal: bool) -> None:
    """A lease whose end moves by a few milliseconds is the same lease."""
    assert same(WORD, other) is equal
    assert same(other, WORD) is equal


def test_no_word_twice() -> None:
    """Nothing, and still nothing."""
    assert same(None, None)
    endless = Shared(Drain(since=1.0), float("inf"))
    assert same(endless, endless)
