"""The three forms of an answer, byte by byte."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from probekit import Degraded, Unhealthy
from probekit.asgi import probe_app

from ._asking import MOMENT, HeldClock, ask, make_probes
from ._troubled import SECRET, troubled

pytestmark = pytest.mark.anyio


async def test_json_says_everything_there_is_to_say() -> None:
    """The whole JSON body is as documented."""
    answer = await ask(probe_app(troubled()), "/readyz")
    timing = {"duration": 0.0, "age": 0.0, "since": MOMENT}
    assert (answer.status, answer.json()) == (
        503,
        {
            "status": "unhealthy",
            "probe": "readiness",
            "draining": None,
            "checks": {
                "database": {"status": "healthy", "critical": True, **timing},
                "cache": {
                    "status": "unhealthy",
                    "critical": True,
                    "message": "no connection",
                    "detail": {"tried": 3},
                    **timing,
                    "failures": 1,
                },
                "balance": {
                    "status": "degraded",
                    "critical": False,
                    "message": "balance below 1.00",
                    "detail": {"balance": 0.4},
                    **timing,
                },
                "mail": {
                    "status": "unhealthy",
                    "critical": False,
                    "message": "ValueError",
                    **timing,
                    "failures": 1,
                },
            },
        },
    )


async def test_json_of_a_timeout_is_the_documented_example() -> None:
    """A check that hangs is answered for as the design says."""
    clock = HeldClock()
    probes = make_probes(clock)

    @probes.readiness(timeout=0.02)
    async def database() -> None:
        clock.now += 0.02
        await anyio.sleep_forever()

    app = probe_app(probes)
    await ask(app, "/readyz")
    clock.now += 4.08
    answer = await ask(app, "/readyz")
    assert answer.text.startswith(
        '{"status": "unhealthy", "probe": "readiness", "draining": null, "checks": {"database": '
        '{"status": "unhealthy", "critical": true, '
    )
    assert answer.text.index("\n") == len(answer.text) - 1
    assert answer.json()["checks"]["database"] == {
        "status": "unhealthy",
        "critical": True,
        "message": "timed out after 0.02 s, still running for 4.1 s",
        "duration": 4.1,
        "age": 0.0,
        "since": MOMENT,
        "failures": 2,
    }
    await probes.service.stopped()


async def test_a_stale_result_is_told() -> None:
    """A value that is kept while its check cannot run stands in the body as an old one."""
    clock = HeldClock()
    probes = make_probes(clock)
    broken = False

    @probes.readiness(on_error="keep", max_age=1, stale_after=60)
    async def exchange_rate() -> dict[str, float]:
        if broken:
            raise OSError(SECRET)
        return {"rate": 1.1}

    app = probe_app(probes)
    await ask(app, "/readyz")
    broken = True
    clock.now += 10
    answer = await ask(app, "/readyz")
    assert answer.json()["checks"]["exchange_rate"] == {
        "status": "healthy",
        "critical": True,
        "message": "OSError",
        "detail": {"rate": 1.1},
        "duration": 0.0,
        "age": 10.0,
        "since": MOMENT,
        "stale": True,
    }


async def test_a_check_that_held_the_loop_is_named_with_the_seconds() -> None:
    """A check that blocks is shown with how long it held everything up."""
    probes = make_probes()

    @probes.readiness(timeout=5)
    async def busy() -> None:
        deadline = anyio.current_time() + 0.15
        while anyio.current_time() < deadline:
            pass

    answer = await ask(probe_app(probes), "/readyz")
    assert answer.json()["checks"]["busy"]["blocked_loop"] >= 0.12


async def test_health_json_is_that_of_the_draft() -> None:
    """The IETF draft's form: pass, warn and fail, and no output where it passes."""
    answer = await ask(
        probe_app(troubled()), "/readyz", headers={"accept": "application/health+json"}
    )
    assert answer.headers["content-type"] == "application/health+json"
    timing = {"observedValue": 0.0, "observedUnit": "s", "age": 0.0, "time": MOMENT}
    assert answer.json() == {
        "status": "fail",
        "description": "readiness of this process",
        "checks": {
            "database": [{"status": "pass", **timing}],
            "cache": [
                {"status": "fail", **timing, "output": "no connection", "detail": {"tried": 3}}
            ],
            "balance": [
                {
                    "status": "warn",
                    **timing,
                    "output": "balance below 1.00",
                    "detail": {"balance": 0.4},
                }
            ],
            "mail": [{"status": "warn", **timing, "output": "ValueError"}],
        },
    }


@pytest.mark.parametrize(
    "question",
    [
        {"query": b"verbose"},
        {"headers": {"accept": "text/plain"}},
    ],
    ids=str,
)
async def test_text_has_a_line_for_each_check(question: dict[str, Any]) -> None:
    """The kube-apiserver's form: what passes, what fails, what only degrades, a verdict."""
    answer = await ask(probe_app(troubled()), "/readyz", **question)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.rstrip() == (
        "[+]database ok\n"
        "[-]cache failed: no connection\n"
        "[!]balance degraded (not critical): balance below 1.00\n"
        "[!]mail failed (not critical): ValueError\n"
        "readyz check failed"
    )


async def test_the_text_ends_with_one_line_break() -> None:
    """As the kube-apiserver's does: a terminal shows no empty line."""
    answer = await ask(probe_app(make_probes()), "/readyz", query=b"verbose")
    assert answer.text == "readyz check passed\n"


async def test_a_passing_text_says_so() -> None:
    """The verdict of a passing probe ends on passed, and names the probe's path."""
    answer = await ask(probe_app(make_probes()), "/healthz", query=b"verbose=1")
    assert (answer.status, answer.text.strip()) == (200, "healthz check passed")


async def test_a_critical_degraded_check_does_not_fail_the_text() -> None:
    """Degraded passes, whether critical or not."""
    probes = make_probes()

    @probes.readiness
    async def disk() -> None:
        raise Degraded

    answer = await ask(probe_app(probes), "/readyz", query=b"verbose")
    assert answer.status == 200
    assert answer.text.splitlines()[0] == "[!]disk degraded: no reason given"


@pytest.mark.parametrize(
    ("path", "code"), [("/healthz", 200), ("/readyz", 503), ("/startupz", 503)]
)
async def test_a_check_that_has_not_run_fails_all_but_liveness(path: str, code: int) -> None:
    """UNKNOWN is no evidence against a process that lives, and none for a ready one."""
    clock = HeldClock()
    probes = make_probes(clock)
    declare: dict[str, Any] = {
        "/healthz": probes.liveness,
        "/readyz": probes.readiness,
        "/startupz": probes.startup,
    }

    async def later() -> None:
        pass

    declare[path](later, interval=60, initial_delay=60)
    app = probe_app(probes)
    answer = await ask(app, path)
    assert answer.status == code
    assert answer.json()["checks"]["later"] == {
        "status": "unknown",
        "critical": True,
        "message": "not yet run",
    }
    draft = await ask(app, path + "/later", headers={"accept": "application/health+json"})
    assert draft.json()["checks"]["later"][0]["status"] == "fail"
    await probes.service.stopped()


async def test_names_and_texts_in_any_script_survive() -> None:
    """Whatever a check is called and says, the body is valid in each form."""
    probes = make_probes()

    @probes.readiness(name='zahlung "ü" 支付')
    async def payment() -> None:
        raise Unhealthy("kaputt \ud800 “so”", detail={"\ud800": float("nan")})

    app = probe_app(probes)
    answer = await ask(app, "/readyz")
    assert list(json.loads(answer.body)["checks"]) == ['zahlung "ü" 支付']
    text = await ask(app, '/readyz/zahlung "ü" 支付', query=b"verbose")
    assert text.text.splitlines()[0] == '[-]zahlung "ü" 支付 failed: kaputt ? “so”'
    assert text.headers["content-length"] == str(len(text.body))
