"""A side port that cannot be had, and probes that are served already."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import ConfigurationError, Probes
from probekit._core.portal import PORTAL, SIDE
from probekit._web.side import Side
from probekit.asgi import ProbeMiddleware
from probekit.wsgi import ProbeMiddleware as WSGIMiddleware
from tests.waiting import wait_until
from tests.web._asking import make_probes
from tests.wsgi._asking import ask as ask_wsgi

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL = "127.0.0.1"


async def nobody(*_: object) -> None:
    """Be an application that is never asked."""


@pytest.mark.parametrize("port", [-1, 65_536, "8080", True, 80.0, None])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    """The message has the value and what there is."""
    with pytest.raises(
        ConfigurationError, match=r"^port must be a whole number from 0 .* to 65535"
    ):
        make_probes().serve(port=port)


@pytest.mark.parametrize("host", ["", 5, None])
def test_a_host_that_is_none_is_refused(host: Any) -> None:
    """Likewise."""
    with pytest.raises(ConfigurationError, match=r"^host must be an address such as '0\.0\.0\.0'"):
        make_probes().serve(port=0, host=host)


def answer(_environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    """Be an application that answers."""
    start("200 OK", [])
    return [b"hello"]


def asgi_door(**options: Any) -> object:
    """Put the middleware around an ASGI application."""
    return ProbeMiddleware(nobody, **options)


def wsgi_door(**options: Any) -> object:
    """Put the middleware around a WSGI application."""
    return WSGIMiddleware(lambda *_: [], **options)


@pytest.mark.parametrize("door", [asgi_door, wsgi_door])
def test_the_doors_refuse_what_cannot_work(door: Callable[..., object]) -> None:
    """The options are called by the names that they have there."""
    with pytest.raises(ConfigurationError, match=r"^side_port must be a whole number"):
        door(probes=make_probes(), side_port="9000")
    with pytest.raises(ConfigurationError, match="side_host has no meaning without side_port"):
        door(probes=make_probes(), side_host="::")
    with pytest.raises(ConfigurationError, match="did you mean 'side_port'"):
        door(probes=make_probes(), sideport=9000)


def test_an_unknown_option_is_refused() -> None:
    """What `serve` and `start` take is what the endpoints take."""
    with pytest.raises(ConfigurationError, match="there is no option 'side_port'"):
        make_probes().serve(port=0, side_port=1)  # type: ignore[call-arg] # that is the point


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no.such.host.invalid", r"^host 'no\.such\.host\.invalid' is no address: .*'0\.0\.0\.0'"),
        ("a" * 100, "is no address"),
        ("192.0.2.1", r"^port 0 on '192\.0\.2\.1' cannot be had: this machine has no such address"),
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(host: str, message: str) -> None:
    """The message has the host, the reason and the remedy."""
    probes = make_probes()
    with pytest.raises(ConfigurationError, match=message), probes.serve(host=host, port=0):
        pass
    with probes.serve(host=LOCAL, port=0):  # nothing is left of the attempt
        pass


def test_a_port_that_is_taken_is_refused() -> None:
    """The message says where, why and what to do."""
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        message = rf"^port {port} on '127\.0\.0\.1' is taken: .*choose another port.*ss -ltnp"
        with pytest.raises(ConfigurationError, match=message):
            make_probes().start(host=LOCAL, port=port)


def test_a_side_port_that_was_refused_is_never_opened() -> None:
    """Nor by the first request of an application that is made round the same probes without one."""
    probes = make_probes()
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match="is taken"):
            WSGIMiddleware(answer, probes=probes, side_port=port, side_host=LOCAL)
    assert ask_wsgi(WSGIMiddleware(answer, probes=probes), "/readyz").status == 200
    assert not listens(port)


def test_a_port_that_this_process_has_already_is_refused() -> None:
    """Two applications of one process would answer for each other."""
    with (
        make_probes().serve(host=LOCAL, port=0) as serving,
        pytest.raises(ConfigurationError, match="is taken"),
    ):
        make_probes().start(host=LOCAL, port=serving.port)


def test_a_start_that_is_refused_gives_the_port_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next may have it, and the same probes may start where nothing is in their way."""
    with socket.create_server((LOCAL, 0)) as other:
        port = other.getsockname()[1]
    probes = Probes(observers=[], on_stuck="exit", drain_delay=0)
    with monkeypatch.context() as here:
        here.setattr("probekit._lifecycle.watchdog.watch.obstacle", lambda: "it stands alone")
        with pytest.raises(ConfigurationError, match="cannot work here: it stands alone"):
            probes.start(host=LOCAL, port=port)
    with probes.serve(host=LOCAL, port=port):
        assert ask(port, "/healthz").status == 200


PRIVILEGED = """
import os
import encodings.idna
import probekit._web.serving
from probekit import ConfigurationError, Probes
probes = Probes(observers=[])
if os.getuid() == 0:
    os.setuid(65534)
try:
    probes.start(host="127.0.0.1", port=81)
except ConfigurationError as error:
    print(error)
"""
LOWEST = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(
    not LOWEST.exists() or int(LOWEST.read_text()) <= 81, reason="no port is privileged here"
)
def test_a_privileged_port_is_refused() -> None:
    """The message says which ports are not."""
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    command = [sys.executable, "-c", PRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, env=environ)
    assert "port 81 on '127.0.0.1' is not granted: ports below 1024" in done.stdout, done.stderr


def test_probes_are_served_once() -> None:
    """Neither a second block nor a lifespan may come on top, nor go before."""
    probes = make_probes()
    with probes.serve(host=LOCAL, port=0) as serving:
        with pytest.raises(ConfigurationError, match=r"served already.*Leave one of them out"):
            probes.start(host=LOCAL, port=0)
        assert ask(serving.port, "/healthz").status == 200

    async def beside() -> None:
        async with probes.lifespan():
            with pytest.raises(ConfigurationError, match="side_port="):
                probes.start(host=LOCAL, port=0)

    anyio.run(beside)
    with probes.serve(host=LOCAL, port=0):
        pass  # one after the other is no harm


@pytest.mark.parametrize("begins", ["request", "begin"])
def test_beside_a_wsgi_application_that_is_served_a_block_is_refused(begins: str) -> None:
    """WSGI tells of no start: its first request is one, and the block's end would stop it all."""
    probes = make_probes()
    app = WSGIMiddleware(answer, probes=probes)
    try:
        if begins == "begin":
            probes.begin()
        else:
            assert ask_wsgi(app, "/").status == 200
        with pytest.raises(ConfigurationError, match=r"first request.*Leave one of them out"):
            probes.start(host=LOCAL, port=0)
        with (
            pytest.raises(ConfigurationError, match="served already"),
            probes.serve(host=LOCAL, port=0),
        ):
            raise AssertionError("never reached")
    finally:
        PORTAL.run(probes.service.stopped)


def test_a_wsgi_application_begins_anew_when_a_block_beside_it_is_left() -> None:
    """What came first has stopped everything at its end; the next request starts it again."""
    probes = Probes(drain_delay=0, observers=[])
    ran = threading.Event()
    probes.readiness(ran.set, name="check", interval=0.05, timeout=0.05, initial_delay=0)
    app = WSGIMiddleware(answer, probes=probes)
    with probes.serve(host=LOCAL, port=0):
        assert ask_wsgi(app, "/").status == 200
        wait_until(ran.is_set, "the check runs")
    ran.clear()
    try:
        assert ask_wsgi(app, "/").status == 200
        wait_until(ran.is_set, "it runs again")
        with pytest.raises(ConfigurationError, match="served already"):
            probes.start(host=LOCAL, port=0)
    finally:
        PORTAL.run(probes.service.stopped)


def test_a_lifespan_on_top_is_told_what_came_first() -> None:
    """Whichever comes second, the message names what may have come first."""
    probes = make_probes()

    async def main() -> None:
        async with probes.serve(host=LOCAL, port=0):
            with pytest.raises(ConfigurationError, match=r"served already, by serve\(\), start\("):
                async with probes.lifespan():
                    raise AssertionError("never reached")

    anyio.run(main)


def test_a_sync_block_is_refused_where_a_loop_runs() -> None:
    """It could not wait for the end there without holding everything up."""

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"write `async with probes\.serve"):
            make_probes().serve(host=LOCAL, port=0).__enter__()

    anyio.run(main)


def test_a_system_that_grants_no_thread_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is closed again, and the message has the system's reason."""
    monkeypatch.setattr(SIDE, "_thread", threading.Thread())

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    probes = make_probes()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ConfigurationError, match="grants no thread to listen: can't start"):
            probes.start(host=LOCAL, port=0)
    assert not [side for side in probes.service.listeners if isinstance(side, Side)]
