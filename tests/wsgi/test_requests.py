"""What reaches the door, and leaves it, through each server; one of each serves all these tests."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import get, request
from tests.waiting import wait_until

from ._servers import APPS, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

HERE = (APPS / "shop.py").read_bytes()
POOLS = {"gunicorn-gthread": 4, "waitress": 4, "werkzeug": None, "granian": 4}
"""The servers, and how many requests each handles at once, if that has a limit."""


@pytest.fixture(scope="module", params=POOLS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server with one worker of some threads."""
    with serve(request.param, PROBEKIT_DRAIN_DELAY="0") as running:
        yield running


def state(server: Server) -> Any:
    """Return what /admin/drain says."""
    return get(server.port, "/admin/drain").json()


def idle(server: Server) -> bool:
    """Whether no request is in flight."""
    number: int = state(server)["in_flight"]["requests"]
    return number == 0


def test_the_size_of_its_pool_is_known(server: Server, request: pytest.FixtureRequest) -> None:
    """Each server is asked in its own way; a request says which thread it holds."""
    name = request.node.callspec.params["server"]
    assert get(server.port, "/pool").json() == {"threads": POOLS[name], "here": True}


@pytest.mark.parametrize("path", ["/", "/stream", "/file", "/list", "/fails"])
def test_whoever_leaves_is_no_longer_in_flight(server: Server, path: str) -> None:
    """Answers that are read, broken off or failed are in flight no more."""
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            client.sendall(head % path.encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 ")
            # werkzeug closes no response whose client has reset the connection; then what Flask
            # has caught keeps it in flight until the garbage collector comes.
            while path == "/fails" and client.recv(1000):
                pass
    wait_until(lambda: idle(server), "nothing is in flight")


def test_a_file_is_sent_whole(server: Server) -> None:
    """The server's own way to send a file works through the middleware."""
    answer = get(server.port, "/file")
    assert answer.body == HERE
    assert answer.headers["content-length"] == str(len(HERE))


def test_a_list_keeps_its_length(server: Server) -> None:
    """A server that reads off a list how long the answer is still does."""
    through, bare = get(server.port, "/list"), get(server.port, "/bare-list")
    assert through.body == bare.body == b"all of it"
    assert through.headers.get("content-length") == bare.headers.get("content-length")
    assert through.headers.get("transfer-encoding") == bare.headers.get("transfer-encoding")


def test_head_leaves_the_connection_usable(server: Server) -> None:
    """The server takes the length of a HEAD for no promise of a body."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for method in ("HEAD", "GET", "HEAD", "GET"):
        client.request(method, "/healthz")
        answer = client.getresponse()
        assert (answer.status, bool(answer.read())) == (200, method == "GET")
    client.close()


@pytest.mark.parametrize("framed", ["length", "chunks"])
def test_the_body_of_the_switch_arrives(server: Server, framed: str) -> None:
    """A lease is taken however the client sends it."""
    body = json.dumps({"reason": "deploy", "lease": 60}).encode()
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    if framed == "length":
        client.request("POST", "/admin/drain", body)
    else:
        chunks = iter([body[:5], body[5:]])
        headers = {"Transfer-Encoding": "chunked"}
        client.request("POST", "/admin/drain", chunks, headers, encode_chunked=True)
    answer = client.getresponse()
    assert answer.status == 202
    draining = json.loads(answer.read())["draining"]
    client.close()
    assert (draining["reason"], draining["until"] is None) == ("deploy", False)
    assert request(server.port, "DELETE", "/admin/drain").status == 200


def test_a_body_that_stops_half_way_begins_nothing(server: Server) -> None:
    """While a client is in no hurry the others are answered; when it leaves nothing has begun."""
    head = b"POST /admin/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(head + b'{"lea')
        assert get(server.port, "/readyz").status == 200
    assert get(server.port, "/readyz").status == 200
    assert state(server)["draining"] is None


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "Via"])
def test_a_proxy_on_this_machine_is_seen(server: Server, header: str) -> None:
    """Its clients are strangers; a server that hides its header does not make them local."""
    answer = request(server.port, "POST", "/admin/drain", headers={header: "for=192.0.2.7"})
    assert answer.status == 403
    assert "through a proxy" in answer.json()["detail"]


def test_a_path_beyond_ascii_names_its_check(server: Server) -> None:
    """Its bytes arrive as the standard wants them."""
    assert get(server.port, "/readyz/gr%C3%B6%C3%9Fe").status == 200
    assert get(server.port, "/readyz/%FF").status == 404


def test_no_complaint_is_logged(server: Server) -> None:
    """Nothing of all this looked wrong to the server, but the view that failed."""
    get(server.port, "/")
    tracebacks = server.log().count("Traceback")
    assert tracebacks == server.log().count("ValueError: no")
