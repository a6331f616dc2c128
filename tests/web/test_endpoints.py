"""From a path to what answers it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from probekit import ConfigurationError
from probekit._web.endpoint import Endpoint
from probekit._web.endpoints import Endpoints
from probekit.asgi import probe_app

from ._asking import HeldClock, ask, make_probes

PATHS = ("/healthz", "/readyz", "/startupz", "/admin/drain")
ENDPOINTS = Endpoints(make_probes(HeldClock()).service)

segment = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=8)
near = st.sampled_from(["healthz", "readyz", "startupz", "admin", "drain", "..", ".", "", "%2e"])
ordinary = st.lists(st.one_of(segment, near)).map(lambda parts: "/" + "/".join(parts))


def belongs(path: str) -> bool:
    """Return whether a path is an endpoint's, or that of a check below a probe's."""
    return path.rstrip("/") in PATHS or path.startswith(tuple(f"{each}/" for each in PATHS[:3]))


@given(ordinary)
@example("/readyzz")
@example("/readyz.html")
@example("//readyz")
@example("/api/readyz")
@example("/READYZ")
@example("/admin")
@example("*")
@example("")
def test_an_ordinary_path_is_never_taken(path: str) -> None:
    """Only the endpoints' own paths and what lies below them are found."""
    found = ENDPOINTS.find(path, "")
    assert (found is not None) == belongs(path)


@given(st.sampled_from(PATHS[:3]), st.lists(segment), st.sampled_from(["", "/", "//"]))
def test_what_follows_the_path_is_found_without_its_slashes(
    path: str, parts: list[str], slash: str
) -> None:
    """The tail is the check that is asked for."""
    tail = "/".join(parts).strip("/")
    whole = f"{path}/{tail}" if tail else path
    found = ENDPOINTS.find(whole + slash, "")
    assert found is not None
    assert found[1] == tail


@given(ordinary, ordinary)
@example("/app", "/app/readyz")
@example("/app", "/application/readyz")
@example("/app", "/readyz")
@example("/readyz", "/readyz/readyz")
def test_a_root_path_never_makes_an_ordinary_path_an_endpoint(root_path: str, path: str) -> None:
    """With and without its root path, an endpoint is found, and nothing else is."""
    assume(root_path != "/")
    stripped = path.removeprefix(root_path)
    found = ENDPOINTS.find(path, root_path)
    assert (found is not None) == (belongs(path) or belongs(stripped))


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        (
            "readiness_path",
            "readyz",
            "readiness_path must .* such as '/readyz', got 'readyz'",
        ),
        ("liveness_path", "/", "liveness_path must be a path"),
        ("liveness_path", "//", "liveness_path must be a path"),
        ("startup_path", "", "startup_path must be a path"),
        ("startup_path", None, "startup_path must be a path .* got None"),
        ("drain_path", 5, "drain_path must be a path .* got 5"),
        (
            "readiness_path",
            "/healthz/",
            "readiness_path='/healthz' is the path of another",
        ),
        ("liveness_path", "/a?x", r"liveness_path must be a path .* got '/a\?x', with '\?' in it"),
        ("drain_path", "/a#x", "drain_path must be a path .* got '/a#x', with '#' in it"),
        ("startup_path", "/a%20b", "startup_path must be a path .* with '%' in it; leave that out"),
        ("drain_path", "/readyz", "drain_path='/readyz' is the path of another endpoint already"),
    ],
)
def test_a_path_that_cannot_work_is_refused(option: Any, path: Any, message: str) -> None:
    """A misspelt or doubled path is refused when the door is made."""
    with pytest.raises(ConfigurationError, match=f"^probe endpoints: {message}"):
        probe_app(make_probes(), **{option: path})


@pytest.mark.parametrize("details", ["all", "", None, True])
def test_unknown_details_are_refused(details: Any) -> None:
    """There are three, and the message names them."""
    message = "^probe endpoints: details must be 'full', 'status' or 'none', got "
    with pytest.raises(ConfigurationError, match=message):
        probe_app(make_probes(), details=details)


def test_an_endpoint_that_answers_nothing_cannot_be_made() -> None:
    """One that forgot how to respond is noticed when it is made, not when somebody asks."""

    class Silent(Endpoint):
        pass

    with pytest.raises(TypeError, match="respond"):
        Silent(allowed=None)  # type: ignore[abstract]  # the point


class Exporter:
    """Renders what it was asked for."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the header as the body."""
        return "text/plain; version=0.0.4", f"accept {accept}\n".encode()


@pytest.mark.parametrize("metrics", [5, "/metrics", Exporter, object()])
def test_metrics_that_cannot_be_rendered_are_refused(metrics: Any) -> None:
    """The message has what could be."""
    message = (
        r"^metrics must have a method render\(accept\), such as .*instrument\(probes\) returns"
    )
    with pytest.raises(ConfigurationError, match=message):
        probe_app(make_probes(), metrics=metrics)


@pytest.mark.anyio
async def test_other_paths_can_be_chosen() -> None:
    """Each endpoint answers at its own path and no longer at the usual one."""
    app = probe_app(
        make_probes(),
        liveness_path="/live",
        readiness_path="/ready/",
        startup_path="/internal/started",
        drain_path="/leave",
        metrics_path="/internal/metrics",
        metrics=Exporter(),
    )
    paths = ("/live", "/ready", "/internal/started", "/leave", "/internal/metrics")
    assert set(app.endpoints.paths) == set(paths)
    assert [(await ask(app, path)).status for path in paths] == [200] * 5
    assert [(await ask(app, path)).status for path in PATHS] == [404] * 4


@pytest.mark.anyio
async def test_one_endpoint_may_lie_below_another() -> None:
    """With /health and /health/ready, a check below the second is found there."""
    probes = make_probes()

    @probes.readiness
    async def database() -> None:
        pass

    app = probe_app(probes, liveness_path="/health", readiness_path="/health/ready")
    assert (await ask(app, "/health/ready")).json()["probe"] == "readiness"
    assert (await ask(app, "/health/ready/database")).status == 200


@pytest.mark.anyio
async def test_metrics_are_served_where_there_are_some() -> None:
    """GET and HEAD answer in the wanted form, to who may ask; other methods are refused."""
    app = probe_app(make_probes(), metrics=Exporter(), allow=["127.0.0.0/8"])
    answer = await ask(app, "/metrics", headers={"accept": "text/plain"})
    assert (answer.status, answer.text) == (200, "accept text/plain\n")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4"
    assert answer.headers["content-length"] == "18"
    assert (await ask(app, "/metrics")).text == "accept */*\n"
    assert (await ask(app, "/metrics", "HEAD")).body == b""
    refused = await ask(app, "/metrics", "POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await ask(app, "/metrics", client=("10.0.0.1", 1))).status == 404
    assert (await ask(probe_app(make_probes()), "/metrics")).status == 404


@pytest.mark.anyio
async def test_an_exporter_that_fails_gets_an_answer_and_a_log_entry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No endpoint raises: a failed scrape is a 5xx of probekit's own, with the traceback logged."""

    class Broken:
        def render(self, accept: str) -> tuple[str, bytes]:
            raise OSError(accept)

    answer = await ask(probe_app(make_probes(), metrics=Broken()), "/metrics")
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "OSError" in caplog.text
