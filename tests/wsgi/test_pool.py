"""How many requests the server handles at once, as far as a door can know."""

from __future__ import annotations

import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.test import EnvironBuilder

from probekit import Probes
from probekit._web.pool import pool_size
from probekit.wsgi import ProbeMiddleware
from tests.e2e.clients import get

from ._asking import ask, environ_of
from ._servers import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREADS: dict[str, Any] = {"wsgi.multithread": True}
ONE_THREAD: dict[str, Any] = {"wsgi.multithread": False}


def test_a_server_without_threads_handles_one() -> None:
    """The standard has a word for that."""
    assert pool_size(environ_of("/", **ONE_THREAD)) == 1


def test_a_request_that_says_nothing_has_no_number() -> None:
    """What is not known is not guessed."""
    assert pool_size({}) is None
    assert pool_size(environ_of("/", **THREADS)) is None


@pytest.mark.parametrize("server", ["gunicorn/27", "Granian", "gevent/26 Python/3.11", "waitress"])
def test_a_name_alone_proves_nothing(server: str) -> None:
    """A server that only says its name, or runs the application elsewhere, has no number."""
    environ = environ_of("/", SERVER_SOFTWARE=server, **THREADS)
    assert pool_size(environ) is None


def test_gevents_own_server_is_no_single_thread() -> None:
    """It says that it has one, and has as many greenlets as it likes."""
    environ = environ_of("/", SERVER_SOFTWARE="gevent/26", **ONE_THREAD)
    assert pool_size(environ) is None


def asked_by(module: str, name: str, **local: Any) -> Callable[[dict[str, Any]], int | None]:
    """Return what asks from within a function of that name, as a server's code would."""
    names = "".join(f"    {key} = given[{key!r}]\n" for key in local)
    space: dict[str, Any] = {"__name__": module, "given": local, "pool_size": pool_size}
    exec(f"def {name}(environ):\n{names}    return pool_size(environ)\n", space)
    function: Callable[[dict[str, Any]], int | None] = space[name]
    return function


@pytest.mark.parametrize("threads", [0, "4", None, object()])
def test_what_is_no_number_is_none(threads: object) -> None:
    """A server of another version that keeps something else there is not believed."""
    adj = types.SimpleNamespace(threads=threads)
    channel = types.SimpleNamespace(adj=adj, requests=[])
    gone = types.MethodType(lambda _: False, channel)
    channel_of: dict[str, Any] = {"waitress.client_disconnected": gone}
    environ = environ_of("/", **THREADS, **channel_of)
    assert pool_size(environ) is None

    granian = asked_by("granian.server.mp", "_spawn_wsgi_worker", blocking_threads=threads)
    environ = environ_of("/", SERVER_SOFTWARE="Granian", **THREADS)
    assert granian(environ) is None


def test_no_stack_of_another_thread_is_asked_for_without_a_gil(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stops the world there, and waits for ever for a call that never lets go."""
    granian = asked_by("granian.server.mp", "_spawn_wsgi_worker", blocking_threads=4)
    environ = environ_of("/", SERVER_SOFTWARE="Granian", **THREADS)
    assert granian(environ) == 4
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.delattr(sys, "_current_frames")
    assert granian(environ) is None


def test_another_worker_of_gunicorns_has_no_number() -> None:
    """Its option for threads is there in every worker, and one alone has such threads."""

    class Worker:
        cfg = types.SimpleNamespace(threads=4)

    environ = environ_of("/", SERVER_SOFTWARE="gunicorn/27", **THREADS)
    ask_it = asked_by("gunicorn.workers.other", "handle_request", self=Worker(), resp=None)
    assert ask_it(environ) is None


def pool_app(probes: Probes) -> ProbeMiddleware:
    """Return an application that is busy in the thread that asks it."""

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        [(scope, _since)] = probes.service.traffic.requests.values()
        assert scope["thread"] == threading.get_ident()
        start_response("200 OK", [])
        return [b""]

    return ProbeMiddleware(inner, probes=probes)


def test_it_is_asked_for_once() -> None:
    """An ordinary request pays nothing for it."""
    probes = Probes(drain_delay=0)
    app = pool_app(probes)
    ask(app, "/", SERVER_SOFTWARE="gunicorn/27", **ONE_THREAD)
    assert probes.service.traffic.threads == 1
    ask(app, "/", SERVER_SOFTWARE="gunicorn/27", **THREADS)
    assert probes.service.traffic.threads == 1


@pytest.mark.parametrize(
    "name",
    [{"SERVER_SOFTWARE": "gunicorn/27"}, {"SERVER_SOFTWARE": None}, {"uwsgi.version": b"2.0"}],
)
def test_a_test_client_tells_nothing_of_the_server(name: dict[str, Any]) -> None:
    """It has one thread, whatever the server has. waitress may be told to keep its name back."""
    probes = Probes(drain_delay=0)
    app = pool_app(probes)
    for path in ("/healthz", "/"):
        assert ask(app, path, **EnvironBuilder(path).get_environ()).status == 200
        assert probes.service.traffic.threads is None
    ask(app, "/", **name, **ONE_THREAD)
    assert probes.service.traffic.threads == 1


def test_a_server_may_keep_its_name_to_itself_in_a_drain() -> None:
    """It is told nothing then, and the request is served."""
    probes = Probes(drain_delay=0)
    app = pool_app(probes)
    probes.drain()
    nameless: dict[str, Any] = {"SERVER_SOFTWARE": None}
    assert ask(app, "/", **nameless, **THREADS).status == 200


def test_a_forked_worker_asks_anew() -> None:
    """What the parent was asked by is another server, or none."""
    probes = Probes(drain_delay=0)
    app = pool_app(probes)
    ask(app, "/", SERVER_SOFTWARE="wsgiref", **ONE_THREAD)
    probes.service.renew()
    assert probes.service.traffic.threads is None
    ask(app, "/", SERVER_SOFTWARE="gunicorn/27", **THREADS)
    assert probes.service.traffic.threads is None


@pytest.mark.timeout(60)
def test_a_worker_that_asked_itself_first_knows_its_threads() -> None:
    """As applications do that warm themselves up: one request among four is not all there are."""
    with serve("gunicorn-gthread", ASKS_ITSELF="yes") as server:
        assert get(server.port, "/pool").json() == {"threads": 4, "here": True}
