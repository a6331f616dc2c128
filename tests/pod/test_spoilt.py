"""Files that are cut off, foreign, of a newer version, or hold what makes no sense."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probekit.asgi import probe_app
from tests.web._asking import ask

from ._twins import seen_by, twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

    Making = Callable[..., Probes]

GOOD = {"version": 1, "reason": "r", "by": "b", "since": 1.0, "until": None, "deadline": None}


def spoil(probes: Probes, content: bytes) -> None:
    """Put something into the place of the drain's file."""
    assert probes.service.pod.scope == "pod"
    assert probes.service.pod.path is not None
    draft = Path(probes.service.pod.path) / "draft"
    draft.write_bytes(content)
    draft.replace(draft.with_name(f"{probes.service.pod._prefix}.drain.json"))


BAD = {
    "empty": b"",
    "cut off": json.dumps(GOOD).encode()[:40],
    "foreign": b"<html>",
    "list": b"[]",
    "of a newer version": json.dumps(GOOD | {"version": 2}).encode(),
    "without a field": json.dumps({"version": 1, "reason": "r"}).encode(),
    "with a word for a number": json.dumps(GOOD | {"since": "yesterday"}).encode(),
    "with a flag for a number": json.dumps(GOOD | {"since": True}).encode(),
    "with a list for a number": json.dumps(GOOD | {"deadline": []}).encode(),
    "an endless number": json.dumps(GOOD | {"since": 10**400}).encode(),
    "no number as deadline": json.dumps(GOOD | {"deadline": float("nan")}).encode(),
    "no number as beginning": json.dumps(GOOD | {"since": float("nan")}).encode(),
    "a beginning beyond the calendar": json.dumps(GOOD | {"since": 1e300}).encode(),
    "an end beyond the calendar": json.dumps(GOOD | {"until": float("inf")}).encode(),
    "two lines": json.dumps(GOOD | {"reason": "x\n[+]database ok"}).encode(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("before", [None, "before"])
@pytest.mark.parametrize(
    "what",
    BAD,
)
async def test_a_spoilt_file_leaves_what_was_true_before(
    what: str, before: str | None, shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """One message, every probe and the endpoint answer as before, and the next word is heard."""
    one, other = twins(shared)
    if before is not None:
        one.drain(reason=before)
    assert seen_by(other) == before
    spoil(one, BAD[what])
    app = probe_app(other)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            other.service.drain._looked = -1e9
            answer = await ask(app, "/readyz")
            assert answer.status == (200 if before is None else 503)
            assert "probekit failed" not in answer.text
            text = (await ask(app, "/readyz", headers={"accept": "text/plain"})).text
            assert "[+]database ok" not in text.splitlines()
            assert (await ask(app, "/admin/drain")).status == 200
            assert seen_by(other) == before
    messages = [record.message for record in caplog.records]
    assert len(messages) == 1
    assert "what was true before stays true" in messages[0]
    assert str(one.service.pod.path) in messages[0]
    one.drain(reason="next")
    assert (seen_by(one), seen_by(other)) == ("next", "next")
    other.undrain()
    assert seen_by(one) is None


def test_a_worker_that_is_born_to_a_spoilt_file_takes_work(shared: Making) -> None:
    """There is no last good state, and one that is drained for nothing is worse."""
    one, other = twins(shared)
    spoil(one, b"garbage")
    assert seen_by(other) is None


WORKER: dict[str, Any] = {
    "version": 1,
    "pid": 7,
    "started": 1.0,
    "at": 1.0,
    "ready": True,
    "draining": False,
    "requests": 0,
    "websockets": 0,
    "latest": None,
    "seen_503": 0,
    "loop_lag": 0.0,
    "oldest": [],
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (WORKER, True),
        (WORKER | {"of_tomorrow": 1}, True),
        ({}, False),
        (WORKER | {"version": 2}, False),
        ({"version": 1}, False),
        ({k: v for k, v in WORKER.items() if k != "ready"}, False),
        (WORKER | {"ready": None}, True),
        (WORKER | {"ready": 1}, False),
        (WORKER | {"draining": None}, False),
        (WORKER | {"oldest": [1]}, False),
        (WORKER | {"oldest": None}, False),
        (WORKER | {"oldest": [["GET /\n[+]database ok", 1.0]]}, False),
        (WORKER | {"oldest": [["GET /", float("nan")]]}, False),
        (WORKER | {"started": "x"}, False),
        (WORKER | {"started": 1e300}, False),
        (WORKER | {"requests": "x"}, False),
        (WORKER | {"requests": 10**4000}, False),
        (WORKER | {"seen_503": -1}, False),
        (WORKER | {"latest": "x"}, False),
        (WORKER | {"latest": ""}, False),
        (WORKER | {"latest": False}, False),
        (WORKER | {"at": None}, False),
    ],
    ids=lambda value: repr(value)[-40:],
)
async def test_a_worker_whose_line_makes_no_sense_is_not_shown(
    line: dict[str, Any], shown: bool, shared: Making
) -> None:
    """And the answers about all others are whole."""
    probes = shared()
    pod = probes.service.pod
    assert pod.scope == "pod"
    assert pod.path is not None
    (Path(pod.path) / f"{pod._prefix}.7.worker").write_text(json.dumps(line))
    with (Path(pod.path) / f"{pod._prefix}.7.lock").open("w") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        app = probe_app(probes)
        for method in ("GET", "POST", "DELETE"):
            answer = await ask(app, "/admin/drain", method)
            assert answer.status in {200, 202}
            expected = {os.getpid(), 7} if shown else {os.getpid()}
            assert {worker["pid"] for worker in answer.json()["workers"]} == expected
        assert (await ask(app, "/readyz", query=b"verbose")).status == 200
