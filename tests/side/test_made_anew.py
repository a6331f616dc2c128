"""Applications that are made more than once in a process, as factories make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import ConfigurationError
from probekit.asgi import ProbeMiddleware
from probekit.wsgi import ProbeMiddleware as WSGIMiddleware
from tests.waiting import free_port
from tests.web._asking import make_probes

from ._asking import Client, ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from probekit import Probes
    from probekit._web.asgi_types import Receive, Scope, Send

LOCAL = "127.0.0.1"


@pytest.fixture
def probes() -> Generator[Probes]:
    """Probes that several applications are made round, one after the other."""
    probes = make_probes(name="shop")
    yield probes
    for listener in probes.service.listeners:
        listener.close()  # type: ignore[attr-defined] # it is a Side


def hello(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    start("200 OK", [])
    return [b"hello"]


async def started(_scope: Scope, receive: Receive, send: Send) -> None:
    """Have a lifespan that is over soon."""
    for moment in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{moment}.complete"})


def test_a_factory_may_be_called_again_round_the_same_probes(probes: Probes) -> None:
    """The latest application answers on the port, and no client notices the change."""
    port = free_port()
    options: dict[str, Any] = {"probes": probes, "side_port": port, "side_host": LOCAL}
    with make_probes().serve(host=LOCAL, port=0):  # a port of others is nothing to them
        WSGIMiddleware(hello, **options)
        with Client(port) as client:
            for path in ("/alive", "/live"):
                WSGIMiddleware(hello, **options, liveness_path=path)
                client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert client.receive().status == 200
        assert ask(port, "/readyz").status == 200
        assert ask(port, "/alive").status == 404
    assert len(probes.service.listeners) == len(probes.service.companions) == 1


def test_the_port_of_another_application_is_refused(probes: Probes) -> None:
    """The message names who has it: no other program is in the way."""
    port = free_port()
    WSGIMiddleware(hello, probes=probes, side_port=port, side_host=LOCAL)
    message = (
        rf"^side_port {port} on '127\.0\.0\.1' is taken: this process answers there already, "
        r"for Probes 'shop[-\w]*'; give each application a port of its own$"
    )
    with pytest.raises(ConfigurationError, match=message):
        WSGIMiddleware(hello, probes=make_probes(), side_port=port, side_host=LOCAL)
    with pytest.raises(ConfigurationError, match=r"^port .* is taken: this process answers there"):
        probes.start(host=LOCAL, port=port)
    assert ask(port, "/healthz").status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_each_lifespan_has_the_port_for_its_time(
    order: tuple[int, int], probes: Probes
) -> None:
    """Whichever application was made first, the service knows of one port and no more."""
    port = free_port()
    apps = [
        ProbeMiddleware(started, probes=probes, side_port=port, side_host=LOCAL) for _ in range(2)
    ]
    assert len(probes.service.listeners) == 1
    for number in order:
        listening: list[bool] = []
        messages = ["startup", "shutdown"]

        async def receive() -> dict[str, Any]:
            return {"type": f"lifespan.{messages.pop(0)}"}  # noqa: B023 - called here and now

        async def send(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                listening.append(await anyio.to_thread.run_sync(listens, port))  # noqa: B023 - likewise

        await apps[number]({"type": "lifespan"}, receive, send)
        assert listening == [True]
        assert len(probes.service.listeners) == len(probes.service.companions) == 1
        assert not listens(port)
