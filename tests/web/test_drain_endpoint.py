"""`/admin/drain`: what it shows, what it takes, and what it refuses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Drain, Observer
from probekit.asgi import probe_app

from ._asking import MOMENT, HeldClock, ask, call, make_probes, scope_of

if TYPE_CHECKING:
    from probekit._web.asgi_types import Message

pytestmark = pytest.mark.anyio

IDLE: dict[str, Any] = {
    "draining": None,
    "fleet": None,
    "scope": "process",
    "scope_reason": "PROBEKIT_SCOPE is process",
    "in_flight": {"requests": 0, "websockets": 0, "jobs": 0},
    "oldest": [],
    "last_request": None,
    "seen_503": 0,
    "sigterm": "not armed: the application has not started",
    "drain_delay": 0.0,
}
WORKER: dict[str, Any] = {
    "pid": os.getpid(),
    "started": MOMENT,
    "age": 0.0,
    "ready": True,
    "draining": False,
    "requests": 0,
    "websockets": 0,
    "jobs": 0,
    "loop_lag": 0.0,
    "stuck": None,
}
SHOWN = {"reason": "", "by": "", "since": MOMENT, "until": None, "final": False}


async def test_it_shows_the_switch_and_what_is_in_flight() -> None:
    """GET tells whether the process drains, what it is busy with and what SIGTERM does when."""
    probes = make_probes(HeldClock())
    traffic = probes.service.traffic
    traffic.requests.update({"a": ({}, 1.0), "b": ({"method": "GET", "path": "/b"}, 2.0)})
    traffic.websockets["c"] = {"path": "/c"}, 3.0
    app = probe_app(probes)
    answer = await ask(app, "/admin/drain/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    busy = {"requests": 2, "websockets": 1, "jobs": 0}
    oldest = [("WebSocket ?", 99.0), ("GET /b", 98.0), ("WebSocket /c", 97.0)]
    assert answer.json() == IDLE | {
        "in_flight": busy,
        "oldest": [{"what": what, "age": age, "pid": os.getpid()} for what, age in oldest],
        "workers": [WORKER | busy],
    }
    head = await ask(app, "/admin/drain", "HEAD")
    assert (head.status, head.raw_headers, head.body) == (200, answer.raw_headers, b"")


@pytest.mark.parametrize("drain_delay", [0, 7, 2.5])
async def test_it_shows_how_long_sigterm_is_held_back(drain_delay: float) -> None:
    """Every answer about the state has the seconds, whether armed or not."""
    app = probe_app(make_probes(drain_delay=drain_delay))
    for method in ("GET", "POST", "DELETE"):
        assert (await ask(app, "/admin/drain", method)).json()["drain_delay"] == drain_delay


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", SHOWN),
        (b" \r\n\t ", SHOWN),
        (b"{}", SHOWN),
        (b'{"reason": "deploy", "by": "anna"}', SHOWN | {"reason": "deploy", "by": "anna"}),
        (b'{"lease": null}', SHOWN),
        (b'{"lease": 60}', SHOWN | {"until": "2026-09-21T14:14:20Z"}),
        (b'{"lease": 0.5}', SHOWN | {"until": MOMENT}),
        (json.dumps({"reason": "ü" * 200}).encode(), SHOWN | {"reason": "ü" * 200}),
        ('{"reason": "ü"}'.encode("utf-16"), SHOWN | {"reason": "ü"}),
    ],
)
async def test_post_begins_a_drain(body: bytes, shown: dict[str, object]) -> None:
    """202 with the state; every field may be left out."""
    probes = make_probes(HeldClock())
    app = probe_app(probes)
    answer = await ask(app, "/admin/drain", "POST", body=body)
    workers = [WORKER | {"ready": False, "draining": True}]
    assert (answer.status, answer.json()) == (202, IDLE | {"draining": shown, "workers": workers})
    assert answer.headers["connection"] == "close"
    for accept in ("application/json", "application/health+json", "text/plain"):
        ready = await ask(app, "/readyz", headers={"accept": accept})
        assert ready.status == 503
        assert "probekit failed" not in ready.text
    assert (await ask(app, "/healthz")).status == 200


async def test_delete_ends_it_as_often_as_it_is_asked() -> None:
    """200 with the state, also if there was nothing to end."""
    probes = make_probes(HeldClock())
    app = probe_app(probes)
    await ask(app, "/admin/drain", "POST")
    for _ in range(2):
        answer = await ask(app, "/admin/drain", "DELETE")
        assert (answer.status, answer.json()) == (200, IDLE | {"workers": [WORKER]})
    assert (await ask(app, "/readyz")).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "post", "BREW"])
async def test_another_method_is_refused(method: str) -> None:
    """405 names the four that there are."""
    answer = await ask(probe_app(make_probes()), "/admin/drain", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST, DELETE"
    assert answer.headers["content-type"] == "application/problem+json"


LINE = "must be one line of at most 200 printable characters"


def nested(depth: int) -> bytes:
    """Return a body with so many brackets inside one another in a field."""
    return b'{"reason":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is no JSON: "),
        (b"\xff\xfe\x00", "the body is no JSON: "),
        (b"reason=deploy", "the body is no JSON: "),
        (b"[" * 16_000, "the body is no JSON: "),
        (nested(100), "reason must be a string"),
        (nested(900), ""),
        (nested(5_000), ""),
        (b"9" * 5_000, "the body is no JSON: "),
        (b"[]", "the body must be a JSON object, got a list"),
        (b"null", "the body must be a JSON object, got null"),
        (b'"x"', 'the body must be a JSON object, got "x"'),
        (b"-0.5", "the body must be a JSON object, got -0.5"),
        (b'{"cause": "x"}', "'cause' is no field of a drain; there are reason, by, lease"),
        (b'{"final": true}', "'final' is no field of a drain"),
        (json.dumps({"x" * 9000: 1}).encode(), f"'{'x' * 50}' is no field"),
        (b'{"reason": null}', "drain: reason must be a string, got null"),
        (b'{"reason": 1}', "drain: reason must be a string, got 1"),
        (b'{"reason": true}', "drain: reason must be a string, got true"),
        (b'{"by": {}}', "drain: by must be a string, got an object"),
        (b'{"by": ["anna"]}', "drain: by must be a string, got a list"),
        (
            json.dumps({"reason": "x" * 201}).encode(),
            f'drain: reason {LINE}, got 201 characters: "x',
        ),
        (
            json.dumps({"by": "x" * 9000}).encode(),
            f'drain: by {LINE}, got 9000 characters: "{"x" * 200}"',
        ),
        (rb'{"reason": "a\nb"}', rf'drain: reason {LINE}, got "\n" in "a\nb"'),
        (rb'{"by": "a\u2028b"}', rf'drain: by {LINE}, got "\u2028" in "a\u2028b"'),
        (rb'{"by": "\u001b[2J"}', rf'drain: by {LINE}, got "\u001b" in "\u001b[2J"'),
        (rb'{"reason": "\ud800"}', rf'drain: reason {LINE}, got "\ud800" in "\ud800"'),
        (b'{"lease": 0}', "drain: lease must be > 0 seconds"),
        (b'{"lease": -1}', "drain: lease must be > 0 seconds"),
        (b'{"lease": NaN}', "drain: lease must be > 0 seconds, got NaN; leave it out to drain"),
        (b'{"lease": Infinity}', "drain: lease must be at most 1e9 seconds, got Infinity"),
        (b'{"lease": "60"}', 'drain: lease must be > 0 seconds, got "60"'),
        (b'{"lease": true}', "drain: lease must be > 0 seconds, got true"),
        (b'{"lease": [1]}', "drain: lease must be > 0 seconds, got a list"),
        (b'{"lease": ' + b"9" * 4_000 + b"}", f"must be at most 1e9 seconds, got {'9' * 200}"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_bad_body_changes_nothing(body: bytes, detail: str) -> None:
    """400 says what is wrong with which value, and the state stays whole."""
    probes = make_probes(HeldClock())
    probes.drain(reason="before", lease=60)
    before = probes.draining
    answer = await ask(probe_app(probes), "/admin/drain", "POST", body=body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]
    assert probes.draining is before


@pytest.mark.parametrize("lease", ["1e12", "1e300", "1" + "0" * 400])
async def test_a_lease_beyond_the_calendar_is_refused(lease: str) -> None:
    """400, and probes and the endpoint still answer: nobody is locked out of DELETE."""
    probes = make_probes(HeldClock())
    app = probe_app(probes)
    answer = await ask(app, "/admin/drain", "POST", body=f'{{"lease": {lease}}}'.encode())
    assert answer.status == 400
    assert "probekit failed" not in (await ask(app, "/readyz")).text
    assert (await ask(app, "/admin/drain", "DELETE")).status == 200


async def test_a_huge_body_is_refused_and_not_read() -> None:
    """413 after the first 16 KiB, whatever is still to come."""
    probes = make_probes()
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 4096, "more_body": read < 2560}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await probe_app(probes)(scope_of("/admin/drain", "POST"), receive, send)
    assert sent[0]["status"] == 413
    detail = json.loads(sent[1]["body"])["detail"]
    assert detail == "the body is longer than 16384 bytes, or broke off"
    assert read == 5
    assert probes.draining is None


async def test_a_body_may_come_in_pieces() -> None:
    """Pieces, empty ones too, are put together; a message without a body is an empty one."""
    probes = make_probes()
    pieces: list[Any] = [
        {"type": "http.request", "body": piece, "more_body": True}
        for piece in (b'{"reas', b"", b'on": "deploy"}')
    ]
    answer = await call(
        probe_app(probes), scope_of("/admin/drain", "POST"), [*pieces, {"type": "http.request"}]
    )
    assert answer.status == 202
    assert probes.draining is not None
    assert probes.draining.reason == "deploy"


@pytest.mark.parametrize("piece", [None, b"", b'{"lease": 5', b'{"lease": 5}'])
async def test_a_client_that_goes_before_it_said_all_drains_nothing(piece: bytes | None) -> None:
    """A POST that breaks off must not become a drain without its lease, or with another."""
    probes = make_probes()
    said: list[Message] = [{"type": "http.request", "body": piece, "more_body": True}]
    scope = scope_of("/admin/drain", "POST")
    answer = await call(probe_app(probes), scope, [] if piece is None else said)
    assert answer.status == 413
    assert answer.json()["detail"].endswith("or broke off")
    assert probes.draining is None


async def test_a_lease_ends_by_itself_and_can_be_renewed() -> None:
    """The last POST decides until when; the drain began with the first."""
    clock = HeldClock()
    probes = make_probes(clock)
    app = probe_app(probes)
    await ask(app, "/admin/drain", "POST", body=b'{"lease": 10, "reason": "a"}')
    clock.now += 9
    renewed = await ask(app, "/admin/drain", "POST", body=b'{"lease": 10, "reason": "b"}')
    assert renewed.json()["draining"] == {
        "reason": "b",
        "by": "",
        "since": MOMENT,
        "until": "2026-09-21T14:13:39Z",
        "final": False,
    }
    clock.now += 9.9
    assert (await ask(app, "/readyz")).status == 503
    clock.now += 0.1
    assert (await ask(app, "/admin/drain")).json()["draining"] is None
    assert (await ask(app, "/readyz")).status == 200


async def test_what_sigterm_began_nothing_undoes() -> None:
    """DELETE and POST are 409, and the drain stays as it is."""
    probes = make_probes(HeldClock())
    app = probe_app(probes)
    probes.service.drain.finish(reason="SIGTERM")
    final = probes.draining
    for method in ("DELETE", "POST"):
        answer = await ask(app, "/admin/drain", method, body=b'{"lease": 1}')
        assert answer.status == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert "SIGTERM" in answer.json()["detail"]
    assert final is not None
    assert probes.draining is final
    shown = (await ask(app, "/admin/drain")).json()["draining"]
    assert shown == SHOWN | {"reason": "SIGTERM", "final": True}


async def test_observers_hear_of_the_endpoint() -> None:
    """Each POST and each DELETE that changes something is told."""
    heard: list[str | None] = []

    class Notes(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            heard.append(drain and drain.reason)

    app = probe_app(make_probes(observers=[Notes()]))
    for method, body in [
        ("DELETE", b""),
        ("POST", b'{"reason": "a"}'),
        ("POST", b'{"reason": 1}'),
        ("POST", b'{"reason": "b"}'),
        ("DELETE", b""),
        ("DELETE", b""),
    ]:
        await ask(app, "/admin/drain", method, body=body)
    assert heard == ["a", "b", None]


async def test_it_can_be_left_out() -> None:
    """Without a path there is no such endpoint."""
    probes = make_probes()
    answer = await ask(probe_app(probes, drain_path=None), "/admin/drain", "POST")
    assert (answer.status, probes.draining) == (404, None)
