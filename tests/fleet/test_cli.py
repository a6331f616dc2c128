"""``probekit fleet`` in this process, with a real Redis."""

from __future__ import annotations

import json
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from probekit.cli import main
from probekit.fleet import Fleet
from tests.waiting import free_port, wait_until

from ._foreign import FALLEN_APART, SWITCH, parts_in, pod_line
from ._service import serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes
    from tests.checks._servers import RedisServer

    Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def where(client: Any, redis: RedisServer) -> list[str]:
    """The options that name the fleet."""
    del client
    return ["--redis", redis.url, "--app", "shop"]


@pytest.fixture
def listed(where: list[str], redis: RedisServer, probes: Probes) -> Any:
    """A healthy replica."""
    del where
    fleet = Fleet(redis.url, app="shop", version="1.2.3").join(probes)
    with serving(probes):
        wait_until(lambda: fleet.status().good, "the pod is listed")
        yield fleet


def test_status_of_a_healthy_fleet(listed: Fleet, where: list[str], run: Run) -> None:
    """A sentence, the overview, and a line for each replica; exit code 0."""
    code, out, err = run("status", *where)
    [replica] = listed.status().replicas
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[:2] == [
        "fleet shop: serving",
        "replicas: 1 total, 1 healthy, 0 unhealthy (100 % healthy)",
    ]
    assert (
        " ".join(lines[2].split()) == "replica state version ready requests websockets jobs heard"
    )
    assert lines[3].split()[:6] == [replica.id, "healthy", "1.2.3", "1/1", "0", "0"]


def test_drain_status_undrain(listed: Fleet, where: list[str], run: Run) -> None:
    """What is done is said, and shown by the status, which is then no success."""
    code, out, _ = run("drain", *where, "--reason", "move", "--by", "anna", "--lease", "600")
    assert (code, out) == (0, "fleet shop: draining; pods told at once: 1\n")
    wait_until(lambda: not listed.status().healthy, "the replica drains")
    code, out, _ = run("status", *where)
    assert code == 1
    assert "fleet shop: draining for " in out
    assert "  reason: move\n  by: anna\n  since: " in out
    assert "  lease: 9 min " in out
    assert "1 total, 0 healthy, 1 unhealthy (0 % healthy)" in out
    assert " draining  1.2.3    0/1 " in out
    assert run("undrain", *where)[:2] == (0, "fleet shop: serving; pods told at once: 1\n")
    code, out, _ = run("undrain", *where)
    assert (code, out) == (0, "fleet shop: serving, as before; pods told at once: 1\n")


def test_json(listed: Fleet, where: list[str], run: Run) -> None:
    """Scripts get objects."""
    code, out, _ = run("drain", *where, "--json", "--reason", "move")
    body = json.loads(out)
    assert (code, body["app"], body["told"]) == (0, "shop", 1)
    assert body["draining"]["reason"] == "move"
    assert body["draining"]["by"]
    assert body["draining"]["since"].endswith("Z")
    assert body["draining"]["until"] is None
    wait_until(lambda: not listed.status().healthy, "the replica drains")
    code, out, _ = run("status", *where, "--json")
    shown = json.loads(out)
    assert (code, shown["draining"]) == (1, body["draining"])
    assert (shown["total"], shown["healthy"], shown["unhealthy"], shown["percent"]) == (1, 0, 1, 0)
    [replica] = shown["replicas"]
    assert (replica["state"], replica["version"], replica["workers"]) == ("draining", "1.2.3", 1)
    assert replica["since"].endswith("Z")
    assert json.loads(run("undrain", *where, "--json")[1]) == {
        "app": "shop",
        "draining": None,
        "told": 1,
    }


def test_lease_in_json(where: list[str], run: Run) -> None:
    """Its end is a moment."""
    body = json.loads(run("drain", *where, "--json", "--lease", "60")[1])
    assert body["draining"]["until"] > body["draining"]["since"]


def test_an_empty_fleet_is_no_success(where: list[str], run: Run) -> None:
    """There is no table, and the exit code is 1."""
    code, out, _ = run("status", *where)
    assert code == 1
    assert out == "fleet shop: serving\nno replica has said anything within the last hour\n"


def test_what_others_wrote_cannot_steer_the_terminal(
    client: Any, where: list[str], run: Run
) -> None:
    """Control characters in a name are escaped; another version's pods are counted."""
    pod_line(client, "a\x07", host="a", application="\x1b[2J", workers=1, ready=1)
    pod_line(client, "b", version=2)
    code, out, _ = run("status", *where)
    assert code == 0
    assert out.splitlines()[-1].split()[:3] == ["a\\x07", "healthy", "\\x1b[2J"]
    assert "and 1 that another version of probekit has announced\n" in out


def test_a_replica_that_starts_is_no_success_yet(client: Any, where: list[str], run: Run) -> None:
    """It is counted by itself, for it is neither healthy nor unhealthy."""
    pod_line(client, "a", ready=1, unknown=1)
    code, out, _ = run("status", *where)
    assert code == 1
    assert "replicas: 1 total, 0 healthy, 1 starting, 0 unhealthy (0 % healthy)\n" in out
    assert out.splitlines()[-1].split()[:4] == ["a", "starting", "1", "1/2"]


def test_the_environment_names_the_fleet(
    where: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which keeps the password out of `ps`."""
    monkeypatch.setenv("PROBEKIT_FLEET_REDIS", where[1])
    monkeypatch.setenv("PROBEKIT_FLEET_APP", "shop")
    assert run("drain")[0] == 0
    assert run("undrain")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["status"], "--redis URL is missing; give it, or set PROBEKIT_FLEET_REDIS"),
        (["status", "--redis", "redis://a"], "--app NAME is missing; give it, or set PROBEKIT"),
        (["status", "--redis", "http://a", "--app", "a"], "must begin with one of redis://"),
        (["drain", "--redis", "redis://a", "--app", "a b"], "app must be 1 to 64 letters"),
        (["drain", "--redis", "redis://a", "--app", "a", "--reason", "a\nb"], "reason must be one"),
    ],
)
def test_wrong_arguments(arguments: list[str], complaint: str, run: Run) -> None:
    """One line on stderr, and the exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"probekit fleet {arguments[0]}: ")
    assert complaint in err


@pytest.mark.parametrize("url", FALLEN_APART)
def test_a_part_of_a_password_is_not_printed(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the option gives the URL or the variable, or whether it stands in a wrong place."""
    code, out, err = run("status", "--app", "shop", "--redis", url)
    assert (code, out, parts_in(err)) == (2, "", [])
    assert err.startswith("probekit fleet status: fleet: the URL of Redis ")
    for arguments in (
        ["status", url],
        ["status", "--redi", url],
        ["status", "--timeout", url],
        [url, "status"],
        ["status", "--redis", "redis://a", "--app", url],
    ):
        code, out, err = run(*arguments)
        assert (code, out, parts_in(err)) == (2, "", [])
        assert "not shown" in err
    monkeypatch.setenv("PROBEKIT_FLEET_REDIS", url)
    code, out, err = run("status", "--app", "shop")
    assert (code, out, parts_in(err)) == (2, "", [])


@pytest.mark.parametrize("arguments", [[], ["restart"], ["drain", "--lease", "0"]])
def test_a_wrong_command_line(arguments: list[str], run: Run) -> None:
    """Refused by the parser."""
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("usage: probekit fleet")


@pytest.mark.parametrize("command", ["drain", "undrain", "status"])
def test_help(command: str, run: Run) -> None:
    """Options and exit codes."""
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--redis URL" in out
    assert "1  the Redis answered" in out


def test_the_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`probekit --help` knows it."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "\n    fleet " in capsys.readouterr().out


def test_nobody_answers(run: Run) -> None:
    """Exit code 2: it could not be asked; the password is not shown."""
    url = f"redis://:hunter2@127.0.0.1:{free_port()}"
    code, _, err = run("status", "--redis", url, "--app", "shop", "--timeout", "0.5")
    assert code == 2
    assert "cannot be reached" in err
    assert err.endswith(
        "refused; is that its address, and is it up? give --redis or PROBEKIT_FLEET_REDIS\n"
    )
    assert "hunter2" not in err


def test_another_applications_key(client: Any, where: list[str], run: Run) -> None:
    """Exit code 1: it answered, but not as wished."""
    client.set(SWITCH, "theirs")
    code, _, err = run("drain", *where)
    assert code == 1
    assert "left alone" in err


def test_interrupted(where: list[str], run: Run, redis: RedisServer) -> None:
    """Ctrl-C ends it as any command."""
    redis.pause()
    try:
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        timer = threading.Timer(0.5, signal.pthread_kill, (main_thread, signal.SIGINT))
        timer.start()
        assert run("status", *where)[0] == 130
        timer.join()
    finally:
        redis.resume()
