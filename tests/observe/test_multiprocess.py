from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._exposition import ACCEPTS, OPENMETRICS, parse, sample, samples

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from prometheus_client.metrics_core import Metric

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")

ROOT = Path(__file__).parents[2]


class Worker:
    """A process that shares its metrics with others."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def do(self, command: str) -> Any:
        """Make it do something and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def scrape(self, accept: str = OPENMETRICS) -> list[Metric]:
        """Return what it answers to Prometheus."""
        content_type, body = self.do(f"render {accept}")
        return parse(content_type, body.encode())

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextmanager
def worker(directory: Path, *arguments: str) -> Generator[Worker]:
    """Start one that shares ``directory``, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.observe._worker", *arguments],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Worker(process)
        except BaseException:
            process.kill()
            raise
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() in {0, -9}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    """Two processes that share a directory."""
    with ExitStack() as stack:
        yield stack.enter_context(worker(tmp_path)), stack.enter_context(worker(tmp_path))


def statuses(found: list[Metric]) -> set[str]:
    """Return the statuses that the check is shown with."""
    return {
        labels[-1]
        for labels, value in samples(found, "probekit_check_status", check="database").items()
        if value
    }


def test_each_worker_shows_what_all_have_counted(workers: tuple[Worker, Worker]) -> None:
    """Counters and histograms are sums, whoever is asked, in both formats."""
    first, second = workers
    for each in (first, first, second):
        each.do("check healthy")
        each.do("answer")
    second.do("check unhealthy")
    for each in workers:
        for accept in ACCEPTS:
            found = each.scrape(accept)
            assert samples(found, "probekit_check_runs_total", check="database") == {
                ("app", "degraded", "readiness"): 0,
                ("app", "healthy", "readiness"): 3,
                ("app", "inconclusive", "readiness"): 0,
                ("app", "timeout", "readiness"): 0,
                ("app", "unhealthy", "readiness"): 1,
            }
            requests = samples(found, "probekit_probe_requests_total", probe="readiness")
            assert requests == {("app", "200"): 3, ("app", "503"): 0}
            assert sample(found, "probekit_check_duration_seconds_count", check="database") == 4


def test_each_worker_shows_the_status_that_another_sees(workers: tuple[Worker, Worker]) -> None:
    """A status is shown while at least one worker has it, so that none is overlooked."""
    first, second = workers
    first.do("check healthy")
    second.do("check unhealthy")
    assert statuses(first.scrape()) == statuses(second.scrape()) == {"healthy", "unhealthy"}
    second.do("check healthy")
    assert statuses(first.scrape()) == {"healthy"}


def test_a_drain_of_one_worker_shows_in_all(workers: tuple[Worker, Worker]) -> None:
    """It shows at once, and is gone when its lease has run out and somebody looks."""
    first, second = workers
    assert sample(first.scrape(), "probekit_draining") == 0
    second.do("drain 60")
    assert sample(first.scrape(), "probekit_draining") == 1
    second.do("wait 61")
    second.do("answer")
    assert sample(first.scrape(), "probekit_draining") == 0


def test_what_is_in_flight_is_the_sum_of_all_workers(workers: tuple[Worker, Worker]) -> None:
    """A worker tells the others at most once a second, when something happens."""
    first, second = workers

    def in_flight() -> float | None:
        return sample(first.scrape(), "probekit_in_flight", kind="requests")

    first.do("busy 2")
    second.do("busy 3")
    second.do("answer")
    assert in_flight() == 5
    second.do("busy 1")
    second.do("answer")
    assert in_flight() == 5
    second.do("wait 1")
    second.do("answer")
    assert in_flight() == 3


def test_a_worker_to_which_nothing_happens_is_up_to_date(workers: tuple[Worker, Worker]) -> None:
    """A thread of its own writes its gauges every second, be its loop busy or stuck."""
    first, second = workers
    second.do("busy 3")
    second.do("keep")
    assert sample(first.scrape(), "probekit_in_flight", kind="requests") == 3
    second.do("busy 0")
    second.do("wait 1")
    second.do("keep")
    second.do("leave")
    assert sample(first.scrape(), "probekit_in_flight", kind="requests") == 0


def test_a_killed_worker_is_forgotten_and_what_it_counted_is_not(
    workers: tuple[Worker, Worker], tmp_path: Path
) -> None:
    """Its drain, its status and its requests in flight die with it; its counts stay."""
    first, second = workers
    first.do("check healthy")
    not_named_after_a_pid = tmp_path / "gauge_livemax_worker-7.db"
    shutil.copy(tmp_path / f"gauge_livemax_{first.process.pid}.db", not_named_after_a_pid)
    second.do("busy 3")
    second.do("check unhealthy")
    second.do("answer")
    second.do("drain")
    assert sample(first.scrape(), "probekit_draining") == 1
    second.kill()
    found = first.scrape()
    assert sample(found, "probekit_draining") == 0
    assert sample(found, "probekit_in_flight", kind="requests") == 0
    assert statuses(found) == {"healthy"}
    assert sample(found, "probekit_check_runs_total", outcome="unhealthy") == 1
    assert sample(found, "probekit_probe_requests_total", code="200", probe="readiness") == 1
    assert not_named_after_a_pid.exists()


def test_files_that_are_not_named_after_processes_are_left_alone(tmp_path: Path) -> None:
    """Under uWSGI the client may number its workers: no number is a dead process's."""
    with worker(tmp_path, "5000001") as first, worker(tmp_path, "5000002") as second:
        second.do("drain")
        assert sample(first.scrape(), "probekit_draining") == 1
        assert sample(second.scrape(), "probekit_draining") == 1


def test_a_fork_counts_for_itself(tmp_path: Path) -> None:
    """An application that is loaded before its workers are forked loses nothing."""
    with worker(tmp_path) as alone:
        alone.do("answer")
        assert alone.do("fork") == 0
        found = alone.scrape()
        assert sample(found, "probekit_probe_requests_total", code="200", probe="readiness") == 2


@pytest.mark.parametrize("path", ["", "/nowhere/at/all"])
@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_a_directory_that_is_not_there_is_refused_at_once(variable: str, path: str) -> None:
    """The error names the variable, what it says, and what to do."""
    script = (
        "from probekit import Probes\n"
        "from probekit.observe.prometheus import instrument\n"
        "instrument(Probes())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, variable: path},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert f"ConfigurationError: PROMETHEUS_MULTIPROC_DIR={path!r} is no directory" in ended.stderr
