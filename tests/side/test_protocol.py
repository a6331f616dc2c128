"""HTTP on the side port, byte by byte."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probe
from probekit._web import http1
from probekit._web.endpoints import Endpoints
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._asking import Client, ask

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from probekit import Probes

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LOCAL = "127.0.0.1"


@pytest.fixture
def probes() -> Probes:
    """Probes without checks."""
    return make_probes()


@pytest.fixture
def port(probes: Probes) -> Iterator[int]:
    """Return where they are answered."""
    with probes.serve(host=LOCAL, port=0) as serving:
        yield serving.port


@pytest.mark.parametrize("path", ["/healthz", "/readyz/", "/startupz?verbose", "/admin/drain"])
def test_every_endpoint_answers(port: int, path: str) -> None:
    """All that a door answers is answered here, with the same headers."""
    answer = ask(port, path)
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["connection"] == "close"


def test_an_unknown_path_is_a_problem(port: int) -> None:
    """Whoever asks for something else is told so, in JSON."""
    answer = ask(port, "/")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "no probe has this path"


def test_a_connection_lasts(port: int) -> None:
    """HTTP/1.1 asks again on the same connection."""
    with Client(port) as client:
        for _ in range(3):
            client.send(GET)
            answer = client.receive()
            assert answer.status == 200
            assert "connection" not in answer.headers


def test_requests_may_be_sent_at_once(port: int) -> None:
    """The answers come in the order of the questions."""
    with Client(port) as client:
        client.send(GET + GET.replace(b"healthz", b"nowhere") + GET)
        assert [client.receive().status for _ in range(3)] == [200, 404, 200]


def test_head_has_no_body(port: int) -> None:
    """The length is what GET would send, and the next answer follows at once."""
    with Client(port) as client:
        client.send(GET.replace(b"GET", b"HEAD") + GET.replace(b"GET", b"OPTIONS"))
        assert int(client.receive(bodyless=True).headers["content-length"]) > 10
        assert client.receive().json()["status"] == "healthy"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: bare-newlines\nConnection: Close\n\n",
        b"GET http://proxied/healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /%68ealthz?exclude=%FF HTTP/1.0\r\n\r\n",
    ],
)
def test_who_does_not_want_to_stay_is_let_go(port: int, request_: bytes) -> None:
    """The connection ends with the answer, also towards those who read to the end."""
    with Client(port) as client:
        client.send(request_)
        assert client.receive().headers["connection"] == "close"
        assert client.ends()


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        (b"nonsense\r\n\r\n", 400, "no HTTP request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "TLS is not spoken here"),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 505, "HTTP/1.1"),
        (b"GET /healthz HTTP/1.1\r\nno header\r\n\r\n", 400, "no header"),
        (b"GET /healthz HTTP/1.1\r\n folded: x\r\n\r\n", 400, "no header"),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "is no length"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "no length"),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "no length"),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, "Content-Length"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 431, "longer than 8192 bytes"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431, "more than 100 headers"),
    ],
)
def test_what_is_not_understood_is_refused(
    port: int, request_: bytes, status: int, detail: str
) -> None:
    """The answer says what is wrong, and the connection ends with it."""
    with Client(port) as client:
        client.send(request_)
        answer = client.receive()
        assert answer.status == status
        assert detail in answer.json()["detail"]
        assert client.ends()


def test_a_body_of_known_length_is_read(port: int, probes: Probes) -> None:
    """A drain with a reason, and a second question on the same connection."""
    body = b'{"reason": "a test"}'
    head = b"POST /admin/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with Client(port) as client:
        client.send(head % len(body) + body)
        answer = client.receive()
        assert answer.status == 202
        assert answer.headers["connection"] == "close"  # since it drains
        assert client.ends()
    assert probes.draining is not None
    assert probes.draining.reason == "a test"
    assert ask(port, "/readyz").status == 503


def test_a_body_that_nobody_wants_ends_the_connection(port: int) -> None:
    """What follows could not be told from the next request; the answer arrives all the same."""
    with Client(port) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345")
        assert client.receive().headers["connection"] == "close"
        assert client.ends()
    with Client(port) as client:
        client.send(b"POST /admin/drain HTTP/1.1\r\nHost: localhost\r\n")
        client.send(b"Content-Length: 200000\r\n\r\n")
        client.send(b"x" * 20_000)
        assert client.receive().status == 413


def test_a_body_that_breaks_off_is_none(port: int) -> None:
    """Half a body may still be JSON, and say something else."""
    with Client(port) as client:
        client.send(
            b"POST /admin/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{}"
        )
        client.socket.shutdown(socket.SHUT_WR)
        assert client.receive().status == 413


def test_who_says_nothing_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes ends by itself, in the middle of a request as well."""
    monkeypatch.setattr(http1, "PATIENCE", 0.1)
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\n", b"GET"):
        with Client(port) as client:
            client.send(beginning)
            assert client.ends()
    with Client(port) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.ends()


def test_who_sends_on_after_the_answer_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not close when it is told to is closed."""
    monkeypatch.setattr(http1, "PARTING", 0.1)
    with Client(port) as client:
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.receive().status == 200
        assert client.ends()
        wait_until(lambda: breaks(client), "the connection is gone")


def breaks(client: Client) -> bool:
    """Whether nobody takes what is sent."""
    try:
        client.send(b"x")
    except OSError:
        return True
    return False


def test_slow_clients_harm_nobody(port: int) -> None:
    """Any number of them may come; the one that has waited longest makes room for the next."""
    slow = [Client(port) for _ in range(http1.MOST_CONNECTIONS + 20)]
    try:
        for client in slow:
            client.send(b"GET /healthz")
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: ask(port, "/healthz"), range(50)))
        assert {answer.status for answer in answers} == {200}
        assert slow[0].ends()
    finally:
        for client in slow:
            client.__exit__(None, None, None)


def test_where_all_connections_are_busy_the_new_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is about to be answered is not cut off."""
    monkeypatch.setattr(http1, "MOST_CONNECTIONS", 1)
    probes, go_on, begun = make_probes(), threading.Event(), threading.Event()

    @probes.readiness(timeout=8)
    def slow() -> None:
        begun.set()
        go_on.wait(8)

    with probes.serve(host=LOCAL, port=0) as serving, Client(serving.port) as first:
        first.send(GET.replace(b"healthz", b"readyz"))
        assert begun.wait(8)
        with Client(serving.port) as second:
            second.send(GET)
            assert second.ends()
        go_on.set()
        assert first.receive().status == 200


@pytest.mark.parametrize("busy", [False, True])
def test_a_burst_does_not_pass_the_limit(*, busy: bool) -> None:
    """Each that is let in makes another leave, also one that was let in with it, or is closed."""
    probes, go_on = make_probes(), threading.Event()

    @probes.readiness(timeout=8)
    def slow() -> None:
        go_on.wait(8)

    async def main() -> int:
        sock = http1.bind(LOCAL, 0)
        connections = http1.Connections(Endpoints(probes.service), lambda: False)
        await connections.listen(sock)
        with ExitStack() as clients:
            for _ in range(4):
                for _ in range(100):  # before the loop turns
                    client = clients.enter_context(socket.socket())
                    client.setblocking(False)
                    client.connect_ex(sock.getsockname())
                    client.send(GET.replace(b"healthz", b"readyz") if busy else b"GET")
                await asyncio.sleep(0.1)
            left = len(connections._open)
            go_on.set()
            await asyncio.sleep(0.2)
            await connections.end()
        return left

    assert asyncio.run(main()) == http1.MOST_CONNECTIONS


def test_two_hundred_probes_are_answered(port: int) -> None:
    """None of many at a time is lost, and none waits for long."""

    def timed(_: int) -> tuple[int, float]:
        began = time.monotonic()
        return ask(port, "/readyz").status, time.monotonic() - began

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(timed, range(200)))
    assert {status for status, _ in answers} == {200}
    assert max(seconds for _, seconds in answers) < 5


def test_a_fault_of_our_own_is_logged_once(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What breaks one connection breaks no other."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(http1, "parsed", broken)
        for _ in range(2):
            with Client(port) as client:
                client.send(GET)
                assert client.ends()
    assert ask(port, "/healthz").status == 200
    faults = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in faults] == [
        "probekit failed to serve a connection; it goes on"
    ]


def test_who_is_allowed_is_decided_by_the_address() -> None:
    """The address of the client is that of the other end."""
    with make_probes().serve(host=LOCAL, port=0, allow=["10.0.0.0/8"]) as serving:
        assert ask(serving.port, "/healthz").status == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6_listens_on_both() -> None:
    """All addresses of IPv6 are those of IPv4 as well."""
    with make_probes().serve(host="::", port=0) as serving:
        assert ask(serving.port, "/healthz").status == 200
        assert ask(serving.port, "/healthz", host="::1").status == 200
        assert ask(serving.port, "/admin/drain").status == 200


def test_who_is_let_in_while_it_ends_is_closed() -> None:
    """Nobody is kept waiting by a server that takes no more requests."""

    async def main() -> bool:
        sock = http1.bind(LOCAL, 0)
        connections = http1.Connections(make_endpoints(), lambda: False)
        await connections.listen(sock)
        with Client(sock.getsockname()[1]) as client:
            connections._ending = True
            ended = await asyncio.to_thread(client.ends)
        await connections.end()
        return ended

    assert asyncio.run(main())


def make_endpoints() -> Endpoints:
    """Return the endpoints of a service without checks."""
    return Endpoints(make_probes().service)


def test_an_answer_under_way_is_finished_when_it_ends() -> None:
    """Who waits for a request is closed, and who waits for an answer gets it."""
    probes = make_probes()

    @probes.readiness(timeout=5)
    def slow() -> None:
        time.sleep(0.3)

    with probes.serve(host=LOCAL, port=0) as serving:
        idle, asking = Client(serving.port), Client(serving.port)
        idle.send(GET)
        assert idle.receive().status == 200
        asking.send(GET.replace(b"healthz", b"readyz"))
        state = probes.service.engine.states[Probe.READINESS]["slow"]
        wait_until(lambda: state.run is not None, "it is asked")
    with idle, asking:
        assert idle.ends()
        assert asking.receive().headers["connection"] == "close"
        assert asking.ends()
    with pytest.raises(ConnectionRefusedError):
        Client(serving.port)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_connection_whose_loop_was_closed_ends_without_a_word() -> None:
    """What is left of it is thrown away some time, and nobody could be told of an error."""
    near, far = socket.socketpair()
    loop = asyncio.new_event_loop()

    async def begin() -> Coroutine[Any, Any, None]:
        reader, writer = await asyncio.open_connection(sock=near)
        endpoints = Endpoints(make_probes().service)
        coroutine = http1.Connections(endpoints, lambda: False)._serve(reader, writer)
        task = loop.create_task(coroutine)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is left on purpose
        await asyncio.sleep(0)
        return coroutine

    coroutine = loop.run_until_complete(begin())
    loop.close()
    coroutine.close()
    del coroutine
    gc.collect()
    far.close()
