"""`probe_app` by itself and mounted, and the routes for Starlette and FastAPI."""

from __future__ import annotations

import importlib
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from probekit import ConfigurationError
from probekit.asgi import ProbeMiddleware, probe_app
from probekit.starlette import routes
from tests.web._asking import ask, call, make_probes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request

    from probekit import Probes

pytestmark = pytest.mark.anyio


async def root(_: Request) -> PlainTextResponse:
    """Greet."""
    return PlainTextResponse("hello")


def with_check(probes: Probes) -> Probes:
    """Declare one readiness check and return the Probes."""

    @probes.readiness
    async def database() -> None:
        pass

    return probes


async def test_by_itself_it_knows_nothing_but_probes() -> None:
    """Any other path is 404 as application/problem+json."""
    app = probe_app(make_probes())
    for path in ("/", "/readyzz", "*", ""):
        answer = await ask(app, path)
        assert answer.status == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "no probe has this path"


async def test_a_websocket_is_closed_and_anything_else_ignored() -> None:
    """Nobody hangs who takes it for something else."""
    app = probe_app(make_probes())
    answer = await call(
        app, {"type": "websocket", "path": "/readyz"}, [{"type": "websocket.connect"}]
    )
    assert answer.messages == [{"type": "websocket.close", "code": 1000}]
    assert (await call(app, {"type": "webtransport"}, [])).messages == []


def mounted_in_starlette(probes: Probes) -> Any:
    """Return a Starlette application with the probes below /internal."""
    return Starlette(routes=[Route("/", root), Mount("/internal", probe_app(probes))])


def mounted_in_fastapi(probes: Probes) -> Any:
    """Return a FastAPI application with the probes below /internal."""
    app = FastAPI()
    app.mount("/internal", probe_app(probes))
    return app


def inside_a_mounted_fastapi(probes: Probes) -> Any:
    """Return a FastAPI application whose mounted sub-application has the middleware."""
    inner = FastAPI()
    inner.add_middleware(ProbeMiddleware, probes=probes)
    app = FastAPI()
    app.mount("/internal", inner)
    return app


def routed_in_a_mount(probes: Probes) -> Any:
    """Return a Starlette application with the routes below /internal."""
    return Starlette(routes=[Mount("/internal", routes=routes(probes))])


@pytest.mark.parametrize(
    "make", [mounted_in_starlette, mounted_in_fastapi, inside_a_mounted_fastapi, routed_in_a_mount]
)
@pytest.mark.parametrize("root_path", ["", "/app"])
async def test_a_mounted_door_answers_below_its_prefix(
    make: Callable[[Probes], Any], root_path: str
) -> None:
    """With and without a slash at the end, and under a root path; no redirect, no prefix lost."""
    app = make(with_check(make_probes()))
    for path in ("/internal/readyz", "/internal/readyz/", "/internal/readyz/database"):
        answer = await ask(app, root_path + path, root_path=root_path)
        assert answer.status == 200
        assert list(answer.json()["checks"]) == ["database"]
    assert (await ask(app, root_path + "/readyz", root_path=root_path)).status == 404


def routed_starlette(probes: Probes) -> Any:
    """Return a Starlette application with the routes."""
    return Starlette(routes=[*routes(probes), Route("/", root)])


def routed_fastapi(probes: Probes) -> Any:
    """Return a FastAPI application with the routes, and a dependency that refuses everybody."""

    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI(dependencies=[Depends(refuse)])
    app.router.routes.extend(routes(probes))
    return app


@pytest.mark.parametrize("make", [routed_starlette, routed_fastapi])
async def test_routes_answer_every_probe(make: Callable[[Probes], Any]) -> None:
    """GET, HEAD, OPTIONS, one check, the drain; dependencies of the application do not matter."""
    probes = with_check(make_probes())
    app = make(probes)
    for path in ("/healthz", "/readyz/", "/startupz", "/readyz/database", "/admin/drain"):
        assert (await ask(app, path)).status == 200
    for method in ("HEAD", "OPTIONS"):
        assert (await ask(app, "/readyz", method)).status == 200
    assert (await ask(app, "/readyz", "POST")).status == 405
    assert (await ask(app, "/readyz/other")).status == 404
    assert (await ask(app, "/admin/drain", "POST", body=b'{"reason": "x"}')).status == 202
    assert (await ask(app, "/readyz")).status == 503


def test_routes_stay_out_of_the_schema() -> None:
    """The application's OpenAPI document knows nothing of probes."""
    app = routed_fastapi(make_probes())
    assert app.openapi()["paths"] == {}


def test_routes_take_the_options_of_the_other_doors() -> None:
    """Paths can be chosen, and a wrong option is refused."""
    chosen = routes(make_probes(), readiness_path="/ready", drain_path=None)
    assert {route.path for route in chosen} == {
        "/healthz",
        "/healthz/{check:path}",
        "/ready",
        "/ready/{check:path}",
        "/startupz",
        "/startupz/{check:path}",
    }
    with pytest.raises(ConfigurationError, match="details"):
        routes(make_probes(), details="all")  # type: ignore[arg-type]  # the point


def test_routes_with_a_lifespan_of_their_own_run_background_checks() -> None:
    """What the docstring of `routes` recommends works."""
    probes = make_probes()

    @probes.readiness(interval=0.02, timeout=0.02, initial_delay=0)
    async def tick() -> None:
        pass

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with probes.lifespan():
            yield

    with TestClient(Starlette(routes=routes(probes), lifespan=lifespan)) as client:
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_a_middleware_in_an_existing_application(kind: Any, backend: Any) -> None:
    """Added last it stands before a host check; two lifespans one after the other both work."""
    probes = with_check(make_probes())
    app = kind(routes=[Route("/", root)])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["shop.example"])
    app.add_middleware(ProbeMiddleware, probes=probes)
    for _ in range(2):
        with TestClient(app, backend=backend) as client:
            assert client.get("/").status_code == 400
            assert client.get("/readyz").status_code == 200
            assert client.get("/readyz/", follow_redirects=False).status_code == 200
            assert client.get("/", headers={"host": "shop.example"}).text == "hello"


def test_a_stack_that_is_built_twice_still_answers() -> None:
    """Starlette makes its middleware anew; nothing is lost and nothing is counted twice."""
    probes = with_check(make_probes())
    app = Starlette(routes=[Route("/", root)])
    app.add_middleware(ProbeMiddleware, probes=probes)
    for _ in range(3):
        app.middleware_stack = app.build_middleware_stack()
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/").text == "hello"
    assert probes.in_flight == {"requests": 0, "websockets": 0, "jobs": 0}


def test_a_drain_through_a_test_client_needs_leave() -> None:
    """The test client has no address, so it is nobody unless it has the token."""
    token = "0123456789abcdef"
    probes = make_probes()
    app = Starlette()
    app.add_middleware(ProbeMiddleware, probes=probes, admin_token=token)
    with TestClient(app) as client:
        assert client.post("/admin/drain").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.post("/admin/drain", headers=headers, json={"reason": "deploy", "lease": 5})
        assert answer.status_code == 202
        assert client.get("/readyz").json()["draining"]["reason"] == "deploy"
        assert client.delete("/admin/drain", headers=headers).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_without_starlette_the_routes_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the line to type."""
    monkeypatch.delitem(sys.modules, "probekit.starlette")
    monkeypatch.setitem(sys.modules, "starlette.routing", None)
    with pytest.raises(ImportError, match=r"pip install 'probekit-health\[starlette\]'$"):
        importlib.import_module("probekit.starlette")
