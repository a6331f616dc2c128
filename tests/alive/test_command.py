"""``probekit alive --pod``, and what it needs to start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import yaml

from probekit._alive import judge
from probekit.cli import main
from probekit.cli._alive import parse
from tests.docs._blocks import blocks_of
from tests.packaging._project import ROOT
from tests.waiting import free_port

from ._stage import SILENT

if TYPE_CHECKING:
    from pathlib import Path

    from ._stage import Stage


@pytest.fixture(autouse=True)
def environment(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look into the directory of the test."""
    monkeypatch.setenv("PROBEKIT_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("COLUMNS", "100")  # for argparse


def test_one_line_a_worker_and_a_verdict(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is for the platform, the lines are for people."""
    pid = stage.process().pid
    stage.worker(pid, stuck_after=60.0)
    assert main(["alive", "--pod"]) == 0
    out, err = capsys.readouterr()
    [line, verdict] = out.splitlines()
    assert line.startswith(f"worker {pid} of app: alive, said so ")
    assert (verdict, err) == ("alive: 1 of 1 workers alive", "")
    stage.say(pid, stuck="a lock", stuck_after=60.0)
    assert main(["alive", "--pod"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"worker {pid} of app: stuck, for more than 60 s: a lock",
        f"not alive: 1 of 1 workers stuck: worker {pid} of app: stuck, for more than 60 s: a lock",
    ]


def test_an_application_may_be_named(stage: Stage) -> None:
    """Another that is stuck is another container's matter, or another probe's."""
    stage.worker(stage.process().pid, "app", stuck_after=60.0)
    stage.worker(stage.process().pid, "shop", stuck="a lock", stuck_after=60.0)
    assert main(["alive", "--pod", "--app", "app"]) == 0
    assert main(["alive", "--pod", "--app", "shop"]) == 1


def test_no_pod_is_not_alive(runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A probe that finds nothing must not pass for ever."""
    assert main(["alive", "--pod"]) == 1
    out, err = capsys.readouterr()
    [passed_over, verdict] = out.splitlines()
    home = f"{runtime}/probekit-{os.geteuid()}"
    assert passed_over == f"passed over: {home}: No such file or directory"
    assert verdict.startswith("not alive: no pod of probekit is running here; ")
    assert err == ""


def test_a_directory_that_cannot_be_listed_is_passed_over(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has vanished meanwhile is no reason for a traceback."""
    stage.path.chmod(0o300)
    if os.access(stage.path, os.R_OK):
        stage.path.rmdir()  # root may read anything, but not what is no more
    assert main(["alive", "--pod"]) == 1
    assert "no pod of probekit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "give either --pod, to look once, or --port PORT, to serve /healthz"),
        (["--pod", "--port", "1"], "give either --pod, to look once, or --port PORT"),
        (["--pod", "--host", "::1"], "--host means nothing without --port: add that"),
        (["--pod", "--app", ""], "--app '' names no application: give the name of a Probes"),
        (["--port", "http"], "must be a port from 0 to 65535, got 'http'"),
        (["--port", "65536"], "must be a port from 0 to 65535, got '65536'"),
        (["--port", "-1"], "must be a port from 0 to 65535, got '-1'"),
        (["pod"], "unrecognized arguments: pod"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to give instead."""
    with pytest.raises(SystemExit) as left:
        main(["alive", *words])
    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("localhost", "Name or service not known"),
        ("a..b", "not a valid host name"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_an_address_that_cannot_be_had_is_told(
    host: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name is looked up: the servers of names may be what hangs."""
    port = str(free_port())
    assert main(["alive", "--port", port, "--host", host]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"probekit alive: cannot listen on --host {host} --port {port}: ")
    assert reason in told
    assert told.endswith(
        "; give an IP address of this machine, and a port that is free and, unless this is root, "
        "above 1023\n"
    )


def test_elsewhere_than_on_linux_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing there tells which processes belong together."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["alive", "--pod"]) == 2
    assert capsys.readouterr().err == (
        "probekit alive: only Linux tells how other processes are; ask the service's /healthz\n"
    )


def test_ctrl_c(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks by hand may stop looking."""
    stage.worker(stage.process().pid, ago=SILENT)
    monkeypatch.setattr(judge, "LOOK", 10.0)
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    assert main(["alive", "--pod"]) == 130


WITHOUT_DESCRIPTORS = """
import resource, sys
import probekit.cli._alive, probekit._alive.judge
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
status = probekit.cli.main(["alive", "--pod"])
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
sys.exit(status)
"""


def test_a_proc_that_tells_nothing_is_told(runtime: Path) -> None:
    """A verdict would be a guess."""
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("probekit alive: /proc does not tell how the processes are: ")


DEAR = {
    "anyio",
    "argparse",
    "asyncio",
    "dataclasses",
    "datetime",
    "email",
    "http",
    "importlib.metadata",
    "inspect",
    "logging",
    "pathlib",
    "redis",
    "socket",
    "sqlalchemy",
    "ssl",
    "subprocess",
    "tempfile",
    "trio",
}
LOADED = """
import sys
from probekit.cli import main
status = main(["alive", "--pod"])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


def test_it_loads_next_to_nothing(stage: Stage) -> None:
    """The platform starts it every few seconds, in a container that may have a tenth of a CPU."""
    stage.worker(stage.process().pid, stuck_after=60.0)
    without = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], env=without, capture_output=True, check=True, text=True
    )
    assert done.stdout.endswith("alive: 1 of 1 workers alive\n")
    assert not DEAR & set(done.stderr.split())


@pytest.mark.parametrize("options", [[], ["-I"]])
def test_it_is_a_command(options: list[str], stage: Stage) -> None:
    """As a manifest has it; without the environment's say where that is installed."""
    stage.worker(stage.process().pid, stuck="a lock", stuck_after=60.0)
    command = [sys.executable, *options, "-c", "import probekit.cli._alive"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("it is not installed")
    command = [sys.executable, *options, "-m", "probekit", "alive", "--pod"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\nnot alive: 1 of 1 workers stuck: worker " in done.stdout


PAGE = ROOT / "docs" / "how-to" / "alive.md"


def test_the_page_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, and no other."""
    with pytest.raises(SystemExit):
        main(["alive", "--help"])
    shown = set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    listed = re.findall(r"^\| `(--[\w-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == set(listed)


def test_the_manifests_of_the_page_are_understood() -> None:
    """What they run is what there is."""
    manifests = [yaml.safe_load(b.text) for b in blocks_of(PAGE) if b.language == "yaml"]
    [probe] = [c["livenessProbe"] for c in manifests[0]["spec"]["containers"]]
    words = probe["exec"]["command"]
    assert parse(words[words.index("alive") + 1 :]) == (None, None, "0.0.0.0")
    beside = manifests[1]["spec"]["containers"][1]["command"]
    assert parse(beside[2:]) == (None, 9001, "0.0.0.0")
