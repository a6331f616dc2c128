"""Who asks a probe how, and what comes back: methods, single checks, repetitions, faults."""

from __future__ import annotations

import pytest

from probekit import Observer, Probe, Report, Unhealthy
from probekit.asgi import probe_app

from ._asking import PATHS, HeldClock, ask, make_probes
from ._troubled import SECRET, troubled

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("slash", ["", "/", "//"])
async def test_every_way_to_ask_gives_the_same_whole_answer(
    path: str, method: str, slash: str
) -> None:
    """OPTIONS is answered like GET, HEAD without the body; a slash changes nothing."""
    app = probe_app(make_probes())
    expected = await ask(app, path)
    answer = await ask(app, path + slash, method, http_version="1.0")
    assert answer.status == 200
    assert answer.raw_headers == expected.raw_headers
    assert answer.body == (b"" if method == "HEAD" else expected.body)
    assert len(answer.messages) == 2
    assert answer.headers == {
        "content-type": "application/json",
        "content-length": str(len(expected.body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "X" * 5000])
async def test_another_method_is_refused_with_those_that_there_are(method: str) -> None:
    """405 names the allowed methods, as application/problem+json."""
    answer = await ask(probe_app(make_probes()), "/readyz", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "title": "Method Not Allowed",
        "status": 405,
        "detail": f"{method[:20]} is not understood here; use one of GET, HEAD, OPTIONS",
    }


@pytest.mark.parametrize(("check", "code"), [("database", 200), ("cache", 503), ("mail", 200)])
async def test_one_check_can_be_asked_for(check: str, code: int) -> None:
    """A path below the probe's asks one check, and drain and startup have no say in it."""
    probes = troubled()
    probes.drain()
    answer = await ask(probe_app(probes), f"/readyz/{check}/")
    assert answer.status == code
    assert list(answer.json()["checks"]) == [check]


async def test_an_unknown_check_is_not_found() -> None:
    """404 names the checks that there are."""
    answer = await ask(probe_app(troubled()), "/readyz/" + "databse" * 20)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "there are: database, cache, balance, mail" in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 200


async def test_a_probe_without_checks_says_that_there_are_none() -> None:
    """404 of a probe without checks says so."""
    answer = await ask(probe_app(make_probes()), "/startupz/migrations")
    assert answer.json()["detail"] == "startup has no check 'migrations'; there are: none"


async def test_a_check_of_another_probe_is_not_found() -> None:
    """The names of one probe mean nothing to another."""
    assert (await ask(probe_app(troubled()), "/healthz/database")).status == 404


async def test_an_answer_is_repeated_only_while_it_is_true() -> None:
    """The bytes of a moment ago are given again until an age, a check or a drain changes."""
    clock = HeldClock()
    probes = make_probes(clock)
    runs = 0

    @probes.readiness
    async def database() -> None:
        nonlocal runs
        runs += 1

    app = probe_app(probes)
    first = await ask(app, "/readyz")
    assert (await ask(app, "/readyz")).messages[1]["body"] is first.messages[1]["body"]
    clock.now += 0.5
    assert (await ask(app, "/readyz")).json()["checks"]["database"]["age"] == 0.5
    assert runs == 1
    probes.drain()
    assert (await ask(app, "/readyz")).status == 503
    probes.undrain()
    assert (await ask(app, "/readyz")).status == 200
    clock.now += 1
    await ask(app, "/readyz")
    assert runs == 2

    @probes.readiness
    async def another() -> None:
        raise Unhealthy

    assert (await ask(app, "/readyz")).status == 503


async def test_what_changes_while_an_answer_is_made_is_in_the_next() -> None:
    """It may be missing in this one, which is not repeated then."""
    probes = make_probes(HeldClock())

    class Late(Observer):
        def on_report(self, previous: object, report: Report) -> None:
            if previous is None:
                probes.readiness(lambda: None, name="late")

    probes.observe(Late())
    app = probe_app(probes)
    assert (await ask(app, "/readyz")).json()["checks"] == {}
    assert [*(await ask(app, "/readyz")).json()["checks"]] == ["late"]


@pytest.mark.parametrize(
    ("path", "code"), [("/healthz", 200), ("/readyz", 503), ("/startupz", 503)]
)
@pytest.mark.parametrize("moment", ["at the first probe", "later"])
async def test_a_fault_of_its_own_kills_no_process(
    path: str, code: int, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What breaks inside is 503, but never a failed liveness, and the log has the traceback."""
    clock = HeldClock()
    codes: list[tuple[Probe, int]] = []

    class Notes(Observer):
        def on_answer(self, probe: Probe, code: int) -> None:
            codes.append((probe, code))

    app = probe_app(make_probes(clock, observers=[Notes()]))

    def fail() -> None:
        raise OSError(SECRET)

    if moment == "later":
        await ask(app, path)
        clock.now += 1
        codes.clear()
    clock.disturbance = fail
    answer = await ask(app, path)
    assert answer.status == code
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json() == {
        "status": "healthy" if code == 200 else "unhealthy",
        "probe": PATHS[path].value,
        "message": "probekit failed to answer; the log says why",
    }
    assert f"OSError: {SECRET}" in caplog.text
    assert codes == [(PATHS[path], code)]
    clock.disturbance = lambda: None
    assert (await ask(app, path)).status == 200


async def test_observers_hear_of_every_answer_to_a_probe() -> None:
    """An answer is told with its code, also one from a moment ago, but no 404 or 405."""
    codes: list[int] = []

    class Notes(Observer):
        def on_answer(self, probe: Probe, code: int) -> None:
            codes.append(code)

    app = probe_app(make_probes(observers=[Notes()]))
    for path, method in [
        ("/readyz", "GET"),
        ("/readyz", "HEAD"),
        ("/readyz", "POST"),
        ("/x", "GET"),
    ]:
        await ask(app, path, method)
    assert codes == [200, 200]
