"""``probekit alive --port``: what it answers, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probekit._alive.page import REUSED_FOR, Page
from probekit._lifecycle.pod.lines import GRACE
from probekit._web.message import Request
from tests.e2e.clients import get, request
from tests.waiting import PATIENCE, free_port, wait_until

from ._beside import Beside, whole
from ._stage import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._stage import Stage


@pytest.fixture
def beside(stage: Stage) -> Iterator[Beside]:
    """The command, beside a stage that is empty yet."""
    with Beside(stage.environment) as beside:
        yield beside


def test_it_answers_as_the_other_endpoints_do(stage: Stage, beside: Beside) -> None:
    """200 or 503, in each of the forms, with the verdict on every worker."""
    pid = stage.process().pid
    stage.worker(pid, stuck_after=60.0)
    answer = get(beside.port, "/healthz")
    assert answer.status == 200
    body = answer.json()
    [worker] = body.pop("workers")
    assert (worker["app"], worker["pid"], worker["state"]) == ("app", pid, "alive")
    assert body == {
        "status": "healthy",
        "probe": "liveness",
        "message": "1 of 1 workers alive",
        "checks": {},
    }
    text = get(beside.port, "/healthz?verbose").body.decode()
    assert re.fullmatch(
        rf"worker {pid} of app: alive, said so \S+ s ago\nhealthz check passed\n", text
    )
    stage.say(pid, stuck="a lock", stuck_after=60.0)
    wait_until(lambda: get(beside.port, "/healthz/").status == 503, "it is noticed")
    stuck = f"worker {pid} of app: stuck, for more than 60 s: a lock"
    message = f"1 of 1 workers stuck: {stuck}"
    body = get(beside.port, "/healthz").json()
    assert (body["status"], body["message"]) == ("unhealthy", message)
    assert get(beside.port, "/healthz?verbose").body.decode() == (
        f"[-]{message}\n{stuck}\nhealthz check failed\n"
    )
    draft = beside.said(b"GET /healthz HTTP/1.0\r\nAccept: application/health+json\r\n\r\n")
    assert b'"status": "fail"' in draft
    assert f'"output": "{message}"'.encode() in draft


def test_head_and_options_are_asked_like_get(stage: Stage, beside: Beside) -> None:
    """By load balancers; HEAD has the headers alone."""
    stage.worker(stage.process().pid, stuck_after=60.0)
    head, _, nothing = beside.said(b"HEAD /healthz HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert {b"connection: close", b"cache-control: no-store"} <= set(lines)
    assert int(dict(line.split(b": ") for line in lines[1:])[b"content-length"]) > 0
    assert nothing == b""
    assert beside.said(b"OPTIONS /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_what_is_no_question_is_told(beside: Beside) -> None:
    """What there is instead is in the answer."""
    answer = get(beside.port, "/readyz")
    assert (answer.status, answer.json()["detail"]) == (
        404,
        "there is no '/readyz' here; ask for /healthz",
    )
    answer = request(beside.port, "POST", "/healthz", body=b"{}")
    assert answer.status == 405
    assert beside.said(b"\xff\r\n:\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_what_changes_is_said_once(stage: Stage, beside: Beside) -> None:
    """The platform keeps a status at most, so the log of the container has the rest."""
    assert get(beside.port, "/healthz").status == 503
    pid, other = stage.process().pid, stage.process().pid
    stage.worker(pid, stuck_after=60.0)
    stage.worker(other, stuck_after=0.0)
    wait_until(lambda: get(beside.port, "/healthz").status == 200, "they are seen")
    stage.say(pid, stuck="a lock", stuck_after=60.0)
    wait_until(lambda: get(beside.port, "/healthz").status == 503, "it is seen")
    for _ in range(3):
        time.sleep(0.2)  # after which it judges again
        get(beside.port, "/healthz")
    [_, *lines] = beside.log().splitlines()
    assert lines[0].startswith("probekit alive: not alive: no ")
    unwatched = f"worker {other} of app: not judged, nobody watches it: its stuck_after is None"
    assert lines.count(f"probekit alive: {unwatched}") == 1
    assert lines.count("probekit alive: alive: 1 of 2 workers alive, 1 not judged") == 1
    assert lines[-1] == (
        f"probekit alive: not alive: 1 of 2 workers stuck: "
        f"worker {pid} of app: stuck, for more than 60 s: a lock"
    )


def test_a_standstill_is_said_within_half_a_second_of_the_threshold() -> None:
    """Also if it was judged just before: a tenth of the half second is left for a busy machine."""
    assert GRACE + REUSED_FOR <= 0.4


def test_nobody_waits_for_a_judgement_that_he_did_not_ask_for(stage: Stage) -> None:
    """It takes a while if a worker says nothing; all who want it get the same one."""
    stage.worker(stage.process().pid, ago=SILENT)
    told: list[str] = []

    async def main() -> None:
        page = Page(stage.environment, app=None, tell=told.append)
        asking = [asyncio.create_task(page.respond(asked("healthz"))) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await page.respond(asked("readyz"))).status == 404
        assert not any(task.done() for task in asking)
        assert len({answer.body for answer in await asyncio.gather(*asking)}) == 1

    asyncio.run(main())
    assert len(told) == 1


def asked(tail: str) -> Request:
    """Return a request for a path."""

    async def body(_: int) -> bytes:
        return b""

    return Request("GET", tail, b"", (), None, body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_with_0(number: signal.Signals, beside: Beside) -> None:
    """Who waits for an answer does not hold it up."""
    with beside.connect():
        beside.process.send_signal(number)
        assert beside.process.wait(PATIENCE) == 0
    assert "Traceback" not in beside.log()


def test_by_default_it_can_be_asked_from_outside(stage: Stage) -> None:
    """By the kubelet, at the address of the pod."""
    with Beside(stage.environment, "--app", "app") as beside:
        assert f"answers at http://0.0.0.0:{beside.port}/healthz\n" in beside.log()
        assert get(beside.port, "/healthz").status == 503


def test_an_address_of_the_new_protocol_is_one(stage: Stage) -> None:
    """In brackets, as URLs have it."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Beside(stage.environment, "--host", "::1") as beside:
        assert f"answers at http://[::1]:{beside.port}/healthz\n" in beside.log()


def test_a_port_that_is_taken_is_told(stage: Stage) -> None:
    """A second one beside the same service is a mistake."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "probekit", "alive", "--host", "127.0.0.1", "--port", port]
        done = subprocess.run(
            command,
            env=os.environ | stage.environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 2
    assert f"--port {port}: Address already in use; give " in done.stderr


def test_nobody_can_hold_it_up(beside: Beside) -> None:
    """Neither who says nothing, nor too much, nor only half, nor goes away in between."""
    with ExitStack() as clients:
        silent = [clients.enter_context(beside.connect()) for _ in range(100)]
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        assert get(beside.port, "/healthz").status == 503
        gone = beside.connect()
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.sendall(b"GET ")
        gone.close()
        with beside.connect() as half:
            half.sendall(b"GET /healthz HT")
            half.shutdown(socket.SHUT_WR)
            assert whole(half) == b""
        assert whole(silent[0]) == b""  # the oldest had to go for the others
        assert get(beside.port, "/healthz").status == 503
    assert beside.process.poll() is None
    assert "Traceback" not in beside.log()


def test_a_question_may_come_in_pieces(beside: Beside) -> None:
    """As it does from a slow network."""
    with beside.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\nhost: x\r\n")
        assert get(beside.port, "/healthz").status == 503
        client.sendall(b"\r\n")
        assert whole(client).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


def test_it_waits_for_a_descriptor(beside: Beside) -> None:
    """Somebody else in the process's limit may give one back."""
    pid = beside.process.pid
    opened = len([*Path(f"/proc/{pid}/fd").iterdir()])
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened, opened + 100))
    with beside.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (opened + 100, opened + 100))
        client.settimeout(PATIENCE)
        assert whole(client).startswith(b"HTTP/1.1 503 ")
    assert before[0] > opened
