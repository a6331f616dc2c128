"""What the probes of a draining process answer."""

from __future__ import annotations

import json

import pytest

from probekit.asgi import probe_app

from ._asking import MOMENT, PATHS, HeldClock, ask, make_probes

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("lease", "text"),
    [
        (None, f"draining by anna since {MOMENT}: deploy"),
        (60.0, f"draining by anna since {MOMENT} until 2026-09-21T14:14:20Z: deploy"),
    ],
)
async def test_a_drain_is_told_in_every_form(lease: float | None, text: str) -> None:
    """Why, by whom, since and until when stand in JSON, in the draft's form and in text."""
    probes = make_probes(HeldClock())
    probes.drain(reason="deploy", by="anna", lease=lease)
    app = probe_app(probes)
    json_form = await ask(app, "/readyz")
    draft = await ask(app, "/readyz", headers={"accept": "application/health+json"})
    plain = await ask(app, "/readyz", query=b"verbose")
    assert [json_form.status, draft.status, plain.status] == [503, 503, 503]
    assert json_form.json() == {
        "status": "unhealthy",
        "probe": "readiness",
        "draining": {
            "reason": "deploy",
            "by": "anna",
            "since": MOMENT,
            "until": None if lease is None else "2026-09-21T14:14:20Z",
            "final": False,
        },
        "checks": {},
    }
    assert draft.json()["output"] == text
    assert plain.text.split("\n")[:2] == [f"[-]{text}", "readyz check failed"]


async def test_a_drain_without_words_is_told_without_words() -> None:
    """No reason and no name leave nothing dangling."""
    probes = make_probes(HeldClock())
    probes.drain()
    answer = await ask(probe_app(probes), "/readyz", query=b"verbose")
    assert answer.text.splitlines()[0] == f"[-]draining since {MOMENT}"


@pytest.mark.parametrize("field", ["reason", "by"])
async def test_a_drain_cannot_forge_a_line_of_the_text(field: str) -> None:
    """A line break in a reason or a name is refused, and never becomes a line about a check."""
    app = probe_app(make_probes())
    body = json.dumps({field: "x\n[+]database ok\nreadyz check passed"}).encode()
    assert (await ask(app, "/admin/drain", "POST", body=body)).status == 400
    answer = await ask(app, "/readyz", query=b"verbose")
    assert (answer.status, answer.text) == (200, "readyz check passed\n")


async def test_only_readiness_knows_of_a_drain() -> None:
    """Liveness and startup stay as they are while the process drains."""
    probes = make_probes()
    probes.drain()
    app = probe_app(probes)
    assert [(await ask(app, path)).status for path in PATHS] == [200, 503, 200]


async def test_every_http_1_answer_of_a_draining_process_closes_the_connection() -> None:
    """Probes too: the prober's next request may go to another process."""
    probes = make_probes()
    probes.drain()
    app = probe_app(probes)
    assert (await ask(app, "/healthz")).headers["connection"] == "close"
    assert (await ask(app, "/nowhere")).headers["connection"] == "close"
    assert "connection" not in (await ask(app, "/healthz", http_version="2")).headers


async def test_an_answer_is_not_repeated_beyond_a_lease() -> None:
    """The moment a lease ends, readiness passes."""
    clock = HeldClock()
    probes = make_probes(clock)
    probes.drain(lease=0.05)
    app = probe_app(probes)
    assert (await ask(app, "/readyz")).status == 503
    clock.now += 0.05
    assert (await ask(app, "/readyz")).status == 200
