"""How many requests the server handles at once, as far as a door can know."""

from __future__ import annotations

import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes
from probekit._web.pool import pool_size
from probekit.wsgi import ProbeMiddleware

from ._asking import ask, environ_of

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


def test_another_worker_of_gunicorns_has_no_number() -> None:
    """Its option for threads is there in every worker, and one alone has such threads."""

    class Worker:
        cfg = types.SimpleNamespace(threads=4)

    environ = environ_of("/", SERVER_SOFTWARE="gunicorn/27", **THREADS)
    ask_it = asked_by("gunicorn.workers.other", "handle_request", self=Worker(), resp=None)
    assert ask_it(environ) is None


def test_it_is_asked_for_once() -> None:
    """An ordinary request pays nothing for it."""
    probes = Probes(drain_delay=0)
    seen: list[object] = []

    def inner(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        [(scope, _since)] = probes.service.traffic.requests.values()
        seen.append(scope["thread"])
        start_response("200 OK", [])
        return [b""]

    app = ProbeMiddleware(inner, probes=probes)
    ask(app, "/", **ONE_THREAD)
    assert probes.service.traffic.threads == 1
    ask(app, "/", SERVER_SOFTWARE="gunicorn/27", **THREADS)
    assert probes.service.traffic.threads == 1
    assert seen == [threading.get_ident()] * 2
