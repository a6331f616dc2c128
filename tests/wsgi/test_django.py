"""Django behind both doors; its own middleware never sees a probe."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from probekit import Probes, asgi, wsgi

from ._asking import ask

django = pytest.importorskip("django", reason="get it with: pip install django")


@pytest.fixture(scope="module", autouse=True)
def settings() -> None:
    """Configure a project of one view, whose host check refuses every prober."""
    conf: Any = pytest.importorskip("django.conf")
    http: Any = pytest.importorskip("django.http")
    urls: Any = pytest.importorskip("django.urls")
    conf.settings.configure(
        ALLOWED_HOSTS=["shop.example"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ROOT_URLCONF=(urls.path("", lambda request: http.HttpResponse("hello")),),
        SECRET_KEY="of a test",
    )
    django.setup(set_prefix=False)


def test_the_wsgi_door() -> None:
    """The probes are answered under any host, and views by Django."""
    probes = Probes(drain_delay=0)
    core: Any = pytest.importorskip("django.core.wsgi")
    application = wsgi.ProbeMiddleware(core.get_wsgi_application(), probes=probes)
    assert ask(application, "/readyz", HTTP_HOST="10.0.0.7").status == 200
    assert ask(application, "/", HTTP_HOST="10.0.0.7").status == 400
    assert ask(application, "/", HTTP_HOST="shop.example").body == b"hello"
    assert probes.in_flight["requests"] == 0


def test_the_asgi_door() -> None:
    """The same on ASGI, where Django knows no lifespan."""
    probes = Probes(drain_delay=0)
    core: Any = pytest.importorskip("django.core.asgi")
    application = asgi.ProbeMiddleware(core.get_asgi_application(), probes=probes)

    async def main() -> None:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("http://10.0.0.7/readyz")).status_code == 200
            assert (await client.get("http://10.0.0.7/")).status_code == 400
            assert (await client.get("http://shop.example/")).text == "hello"

    anyio.run(main)
    assert probes.in_flight["requests"] == 0
