"""Startup is the pod's: once it has passed in one worker, it has in all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Unhealthy
from probekit.asgi import probe_app
from tests.web._asking import ask

from ._twins import twins

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes
    from probekit._web.asgi_types import ASGIApp as App

    Making = Callable[..., Probes]
    Said = tuple[int, str | None]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


def warmed(probes: Probes, name: str = "warm", *, fails: bool = False, **options: Any) -> App:
    """Declare a startup check that passes, or fails, and return the endpoints."""

    async def warm() -> None:
        if fails:
            raise Unhealthy("cold")

    probes.startup(warm, name=name, max_age=0, **options)
    return probe_app(probes)


def note_of(probes: Probes) -> Path:
    """Return the file in which the workers note what has passed."""
    pod = probes.service.pod
    assert pod.scope == "pod"
    assert pod.path is not None
    return Path(pod.path) / f"{pod.name}.started"


async def startup_of(app: App) -> Said:
    """Ask whether it has passed, and return the status and what is said beside the checks."""
    answer = await ask(app, "/startupz")
    return answer.status, answer.json().get("message")


ELSEWHERE = 200, "it has passed in another worker of this server"
FAILS = 503, None
PASSES = 200, None
NOT_YET = 503, "the application has not started"


async def test_a_worker_that_is_started_anew_does_not_fail_the_startup_probe(
    shared: Making,
) -> None:
    """The platform has seen it pass, and would kill the whole pod; readiness stays its own."""
    one, late = twins(shared)
    passing, failing = warmed(one), warmed(late, fails=True)
    assert await startup_of(failing) == FAILS
    assert await startup_of(passing) == PASSES
    assert await startup_of(failing) == ELSEWHERE
    assert (await ask(failing, "/readyz")).status == 503


async def test_a_worker_with_other_code_has_its_own_startup_checks_to_pass(shared: Making) -> None:
    """After a reload: nobody has seen them pass, whatever the worker before it had declared."""
    before, after = twins(shared)
    assert await startup_of(warmed(before)) == PASSES
    app = warmed(after)
    assert await startup_of(warmed(after, "migrated", fails=True)) == FAILS
    assert (await ask(app, "/readyz")).status == 503


async def test_a_worker_with_fewer_startup_checks_finds_them_passed(shared: Making) -> None:
    """One that was taken out of the code is missed by nobody."""
    before, after = twins(shared)
    warmed(before)
    assert await startup_of(warmed(before, "migrated")) == PASSES
    assert await startup_of(warmed(after, "migrated", fails=True)) == ELSEWHERE


async def test_what_has_passed_stays_so_while_old_and_new_code_take_turns(shared: Making) -> None:
    """During a reload workers of both live: neither takes away what the other has noted."""
    old, new = twins(shared)
    assert await startup_of(warmed(old)) == PASSES
    assert await startup_of(warmed(new, "migrated")) == PASSES
    for name in ("warm", "migrated"):
        _, anew = twins(shared)
        anew.service.pod._prefix = old.service.pod._prefix
        anew.service.pod._forget()
        assert await startup_of(warmed(anew, name, fails=True)) == ELSEWHERE


async def test_a_check_that_is_not_critical_has_not_passed_with_the_others(shared: Making) -> None:
    """It may have failed, so where it is critical it must pass; nor does it hold the startup up."""
    before, after = twins(shared)
    warmed(before, "cache", fails=True, critical=False)
    assert await startup_of(warmed(before)) == PASSES
    warmed(after, "later", fails=True, critical=False)
    app = warmed(after, fails=True)
    assert await startup_of(app) == ELSEWHERE
    warmed(after, "cache", fails=True)
    assert await startup_of(app) == FAILS


@pytest.mark.parametrize(
    ("written", "without_checks"),
    [
        ('{"version": 1, "pid": 17}', ELSEWHERE),
        ('{"version": 1, "checks": "warm"}', NOT_YET),
        ('{"version": 1, "checks": ["warm", 7]}', NOT_YET),
        ("", NOT_YET),
    ],
    ids=["older", "no list", "no name", "empty"],
)
async def test_a_note_that_names_no_checks_speaks_for_a_worker_without_any(
    shared: Making, written: str, without_checks: Said
) -> None:
    """An older version wrote it, and the server was upgraded meanwhile; nonsense says nothing."""
    one, plain = twins(shared)
    note = note_of(one)
    note.write_text(written)
    app = warmed(one, fails=True)
    assert await startup_of(app) == FAILS
    plain.service._phase = "starting"
    assert await startup_of(probe_app(plain)) == without_checks
    warmed(plain)
    plain.service._phase = "idle"
    assert await startup_of(probe_app(plain)) == PASSES
    assert await startup_of(app) == ELSEWHERE
    assert json.loads(note.read_text())["checks"] == ["warm"]


async def test_a_note_that_cannot_be_made_fails_nothing(
    shared: Making, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in its way is logged once."""
    probes = shared()
    app = probe_app(probes)
    blocked = note_of(probes)
    blocked.mkdir()
    for _ in range(3):
        assert await startup_of(app) == PASSES
    blocked.rmdir()
    assert [record.getMessage().split(" in ")[0] for record in caplog.records] == [
        "shared state: cannot read",
        "shared state: cannot write",
    ]


async def test_a_startup_that_has_passed_is_looked_up_no_more(shared: Making) -> None:
    """The file is written once, and asked for no longer."""
    probes = shared()
    app = warmed(probes)
    for _ in range(3):
        assert await startup_of(app) == PASSES
    note_of(probes).unlink()
    assert await startup_of(app) == PASSES
    assert not note_of(probes).exists()
