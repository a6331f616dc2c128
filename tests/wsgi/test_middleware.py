from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest

from probekit import Probes, Unhealthy
from probekit.exceptions import ConfigurationError
from probekit.wsgi import ProbeMiddleware

from ._asking import Asker, ask, environ_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JSON = "application/json"


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the path that is left."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", environ["PATH_INFO"].encode("latin-1")]


def make(app: Any = hello, **options: Any) -> tuple[ProbeMiddleware, Probes]:
    """Return an application behind the probes."""
    probes = Probes(drain_delay=0)
    return ProbeMiddleware(app, probes=probes, **options), probes


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz", "/readyz/", "/admin/drain"])
def test_an_endpoint_is_answered(path: str) -> None:
    """Every endpoint answers as on ASGI, and the application does not see the request."""
    app, _ = make()
    answer = ask(app, path)
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.json()


def test_everything_else_is_the_applications() -> None:
    """Other paths, and those that merely begin alike, go through untouched."""
    app, _ = make()
    assert ask(app, "/").body == b"hello /"
    assert ask(app, "/readyzz").body == b"hello /readyzz"
    assert ask(app, "").body == b"hello "


@pytest.mark.parametrize("path", ["/readyz", "/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
def test_the_standard_is_kept(path: str, method: str) -> None:
    """The standard's own referee, before and behind the middleware, has nothing to object."""

    def quiet(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("204 No Content", [])
        return [b""]

    app, probes = make(validator(quiet))
    probes.drain()
    asker = Asker()
    environ = environ_of(path, method)
    body = validator(app)(environ, asker.start_response)
    assert asker.finish(body).status in {204, 503}
    assert probes.in_flight["requests"] == 0


def test_head_has_headers_and_no_body() -> None:
    """HEAD tells the length that GET would have."""
    app, _ = make()
    answer = ask(app, "/healthz", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_failing_check_answers_503() -> None:
    """The line says what happened, in words too."""
    app, probes = make()

    @probes.readiness
    def broken() -> None:
        raise Unhealthy("out of order")

    asker = Asker()
    body = b"".join(app(environ_of("/readyz"), asker.start_response))
    assert asker.status == "503 Service Unavailable"
    assert json.loads(body)["checks"]["broken"]["message"] == "out of order"


def test_checks_run_at_the_same_time() -> None:
    """Sync and async checks take as long as the slowest, here too."""
    app, probes = make()
    for number in range(5):
        probes.readiness(lambda: time.sleep(0.4), name=f"check {number}")
    began = time.monotonic()
    assert ask(app, "/readyz").status == 200
    assert time.monotonic() - began < 1.8


def test_one_check_is_asked_for_by_its_name() -> None:
    """A name beyond ASCII arrives as its bytes, each a character of its own."""
    app, probes = make()
    probes.readiness(lambda: None, name="größe")
    path = "/readyz/größe".encode().decode("latin-1")
    assert list(ask(app, path).json()["checks"]) == ["größe"]
    assert ask(app, "/readyz/\xff").status == 404
    assert ask(app, "/readyz/Ω").status == 404


@pytest.mark.parametrize(
    ("script", "path", "own"),
    [
        ("/shop", "/readyz", "/readyz"),
        ("/shop", "/readyz", "/shop/readyz"),
        ("", "/shop/readyz", "/shop/readyz"),
        ("/readyz", "", "/readyz"),
    ],
)
def test_a_mount_stands_before_the_path_or_not(script: str, path: str, own: str) -> None:
    """A prefix that the server or a dispatcher has split off does not hide the probes."""
    app, _ = make(readiness_path=own)
    assert ask(app, path, SCRIPT_NAME=script).json()["probe"] == "readiness"


def test_a_prefix_that_is_none_of_ours_goes_through() -> None:
    """Below another path, the application's own one of that name stays its own."""
    app, _ = make()
    assert ask(app, "/shop/readyz").body == b"hello /shop/readyz"


def test_options_are_those_of_every_door() -> None:
    """What no door knows is refused by name."""
    with pytest.raises(ConfigurationError, match="'livenes_path'"):
        make(livenes_path="/live")
    app, _ = make(liveness_path="/live", drain_path=None)
    assert ask(app, "/live").status == 200
    assert ask(app, "/healthz").body == b"hello /healthz"
    assert ask(app, "/admin/drain").body == b"hello /admin/drain"


def test_the_drain_is_turned_from_this_machine() -> None:
    """POST begins it, with its reason and lease; DELETE ends it."""
    app, probes = make()
    options = json.dumps({"reason": "deploy", "by": "anna", "lease": 60}).encode()
    assert ask(app, "/admin/drain", "POST", options, CONTENT_TYPE=JSON).status == 202
    assert probes.draining is not None
    assert probes.draining.reason == "deploy"
    assert ask(app, "/readyz").status == 503
    assert ask(app, "/healthz").status == 200
    assert ask(app, "/").status == 200
    assert ask(app, "/admin/drain", "DELETE").status == 200
    assert probes.draining is None


@pytest.mark.parametrize(
    "more",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},  # a Unix socket: gunicorn, granian
        {"REMOTE_ADDR": "localhost"},  # likewise: waitress
        {"REMOTE_ADDR": "<local>"},  # likewise: werkzeug
        {"HTTP_HOST": "shop.example"},
        {"HTTP_X_FORWARDED_FOR": "192.0.2.7"},
        {"HTTP_VIA": "1.1 proxy"},
        {"HTTP_ORIGIN": "http://localhost"},
    ],
)
def test_the_drain_is_turned_by_nobody_else(more: dict[str, Any]) -> None:
    """An address that is another's or nobody's, a proxy and a web page are refused."""
    app, probes = make()
    assert ask(app, "/admin/drain", "POST", **more).status == 403
    assert probes.draining is None


def test_no_remote_address_is_no_address() -> None:
    """Where the server names none, nobody is within a network."""
    app, _ = make(allow=["127.0.0.0/8"])
    environ = environ_of("/healthz")
    del environ["REMOTE_ADDR"]
    asker = Asker()
    assert asker.finish(app(environ, asker.start_response)).status == 404


def test_a_token_opens_the_drain() -> None:
    """The header arrives under the name that the standard gives it."""
    app, _ = make(admin_token="long enough to be a token")
    more: dict[str, Any] = {
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_AUTHORIZATION": "Bearer long enough to be a token",
    }
    assert ask(app, "/admin/drain", "POST", **more).status == 202
    assert ask(app, "/admin/drain", "POST", REMOTE_ADDR="192.0.2.7").status == 401


def test_whatever_a_middleware_puts_there_is_answered() -> None:
    """What is no header of HTTP, or no text at all, fails no probe."""
    app, _ = make()
    more: dict[str, Any] = {"HTTP_X_USER": "Ωmega", "HTTP_X_NUMBER": 7, "QUERY_STRING": "exclude=Ω"}
    assert ask(app, "/healthz", **more).status == 200


def test_text_for_people_is_asked_for() -> None:
    """The query and the Accept header arrive."""
    app, _ = make()
    assert ask(app, "/readyz", QUERY_STRING="verbose").headers["content-type"].startswith("text/")
    accepted = ask(app, "/readyz", HTTP_ACCEPT="application/health+json")
    assert accepted.headers["content-type"] == "application/health+json"


def test_another_server_is_told_nothing() -> None:
    """The standard forbids an application to say ``Connection``, so nobody unknown is told."""
    app, probes = make()
    probes.drain()
    assert "connection" not in ask(app, "/").headers
    assert "connection" not in ask(app, "/healthz").headers


@pytest.mark.parametrize(
    ("server", "protocol", "closes"),
    [
        ("Granian", "HTTP/1.1", True),
        ("Granian", "HTTP/2", False),  # which forbids the header
        ("gunicorn/27.0", "HTTP/1.1", False),  # in name only: nothing of it is on the stack
        ("waitress", "HTTP/1.1", False),
    ],
)
def test_a_server_is_told_in_its_own_way(server: str, protocol: str, closes: bool) -> None:
    """The header goes only to a server that sends it, once, and never in HTTP/2."""

    def keeping(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Connection", "keep-alive")])
        return []

    app, probes = make(keeping)
    probes.drain()
    asker = Asker()
    environ = environ_of("/", SERVER_SOFTWARE=server, SERVER_PROTOCOL=protocol)
    asker.finish(app(environ, asker.start_response))
    assert asker.headers == [("Connection", "close" if closes else "keep-alive")]


def test_the_way_through_is_untouched() -> None:
    """What the application writes, raises again and returns reaches the server as it is."""
    error = (ValueError, ValueError("late"), None)

    def writing(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        write = start_response("200 OK", [("X-First", "1")])
        write(b"written, ")
        start_response("500 Internal Server Error", [("X-Second", "2")], exc_info=error)
        yield b"yielded"

    app, _ = make(writing)
    asker = Asker()
    answer = asker.finish(app(environ_of("/"), asker.start_response))
    assert answer[:3] == (500, {"x-second": "2"}, b"written, yielded")
    assert asker.exc_info is error
