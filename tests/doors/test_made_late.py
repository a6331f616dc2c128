"""A mistake in the options of a middleware that Starlette makes with the first call of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from probekit import ConfigurationError
from probekit.asgi import ProbeMiddleware
from tests.e2e.servers import Server, serve
from tests.web._asking import ask, call, make_probes

from ._apps import LifespanRun, hello

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = "probe endpoints: details must be 'full', 'status' or 'none', got 'all'"
APP = """\
from fastapi import FastAPI
from probekit import Probes
from probekit.asgi import ProbeMiddleware

app = FastAPI()
app.add_middleware(ProbeMiddleware, probes=Probes(), details="all")
"""


def mistaken(kind: type[Starlette]) -> Starlette:
    """Return an application whose middleware cannot work."""
    app = kind()
    app.add_middleware(ProbeMiddleware, probes=make_probes(), details="all")  # type: ignore[arg-type] # wrong
    return app


@pytest.mark.parametrize("on", ["uvicorn-asyncio", "hypercorn-asyncio", "granian-asyncio"])
def test_a_server_ends_and_its_log_has_the_reason(on: str, tmp_path: Path) -> None:
    """Instead of coming up and answering 500 to everything."""
    module = tmp_path / "late.py"
    module.write_text(APP)
    assert MESSAGE in log_at_the_end(serve(module, on))


def log_at_the_end(server: Server) -> str:
    """Return what a server has said that ends by itself."""
    try:
        with server:
            server.wait()
            return server.log()
    except RuntimeError as ended:  # before it has listened, as most do
        return str(ended)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_the_lifespan_fails_with_the_reason(kind: type[Starlette]) -> None:
    """A mere exception would be taken for an application that knows no lifespan."""
    run = await LifespanRun(mistaken(kind)).run()
    assert run.messages == [{"type": "lifespan.startup.failed", "message": MESSAGE}]
    assert isinstance(run.error, ConfigurationError)
    assert str(run.error) == MESSAGE


@pytest.mark.anyio
async def test_a_server_without_a_lifespan_hears_it_with_each_request() -> None:
    """No request reaches the application as if all were well."""
    app = mistaken(Starlette)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"^{MESSAGE}"):
            await ask(app, "/")
    with pytest.raises(ConfigurationError, match=f"^{MESSAGE}"):
        await call(app, {"type": "websocket", "path": "/"}, [{"type": "websocket.connect"}])


@pytest.mark.anyio
async def test_on_an_event_loop_a_mistake_is_refused_where_it_is_written() -> None:
    """Some servers load the application there."""
    with pytest.raises(ConfigurationError, match=f"^{MESSAGE}"):
        ProbeMiddleware(hello, probes=make_probes(), details="all")  # type: ignore[arg-type] # wrong


def test_whoever_has_the_middleware_made_before_hears_it_at_once() -> None:
    """No event loop runs, so it is no server that calls."""
    with pytest.raises(ConfigurationError, match=f"^{MESSAGE}"):
        mistaken(Starlette).build_middleware_stack()
