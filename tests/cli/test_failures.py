"""Peers that answer wrongly, or not at all: one line on stderr, and the exit code."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from probekit.cli._client import receive
from probekit.cli._text import span
from tests.waiting import free_port

from ._peers import CERTIFICATE, Peer, answer, drain, drip, reset, silence, state

if TYPE_CHECKING:
    from ._peers import Script
    from .conftest import Run

PROBLEM = '{"title": "?", "status": 0, "detail": "because of\\nthis"}'


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (answer("401 Unauthorized", PROBLEM), 1, "answered 401: because of\\nthis; call it from"),
        (answer("403 Forbidden", PROBLEM), 1, "set PROBEKIT_ADMIN_TOKEN to the service's"),
        (answer("405 Method Not Allowed", "no"), 1, "answered 405: Method Not Allowed"),
        (answer("409 Conflict", '{"detail": ""}'), 1, "answered 409: Conflict"),
        (answer("404 Not Found", "no"), 2, "mount ProbeMiddleware"),
        (answer("307 No", "", "Location: http://b/"), 2, "redirects to http://b/ (307)"),
        (answer("304 Not Modified", ""), 2, "redirects to nowhere (304)"),
        (answer("503 Service Unavailable", "[]"), 2, "is that the service itself?"),
        (answer("200 OK", "<html>\n<h1>hello"), 2, "no JSON object: '<html>\\\\n<h1>hello'"),
        (answer("200 OK", "[1]"), 2, "no JSON object"),
        (answer("200 OK", "[" * 50_000), 2, "no JSON object"),
        (answer("200 OK", ""), 2, "no JSON object: ''"),
        (answer("200 OK", "{}"), 2, "but not with a drain"),
        (answer("200 OK", state(draining=True)), 2, "but not with a drain"),
        (answer("200 OK", state(in_flight=[])), 2, "but not with a drain"),
        (answer("200 OK", state(in_flight={"requests": "2"})), 2, "but not with a drain"),
        (answer("200 OK", state(in_flight={"requests": True})), 2, "but not with a drain"),
        (answer("200 OK", state(drain_delay=-1)), 2, "but not with a drain"),
        (answer("200 OK", state(drain_delay=float("nan"))), 2, "but not with a drain"),
        (answer("200 OK", state(), length=500), 2, "IncompleteRead"),
        (answer("200 OK", " " * 70_000 + state()), 2, "IncompleteRead"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 2, "broke off or is no HTTP (BadStatusLine"),
        (b"", 2, "RemoteDisconnected"),
        (reset, 2, "broke off"),
        (silence, 2, "no answer of http://127.0.0.1:"),
        (drip, 2, "within 0.4 s (--timeout)"),
    ],
)
def test_a_wrong_answer_is_one_line(script: bytes | Script, code: int, said: str, run: Run) -> None:
    """Whatever is wrong with an answer, the command ends in time and says it in one line."""
    with Peer(script) as peer:
        began = time.monotonic()
        outcome = run("undrain", "--url", peer.url, "--timeout", "0.4")
        assert time.monotonic() - began < 3
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert outcome.err.startswith("probekit undrain: ")
    assert outcome.err.count("\n") == 1


def test_what_comes_too_late_is_not_read() -> None:
    """An answer that is there counts for nothing once its time is over."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer("200 OK", state()))
        with pytest.raises(TimeoutError):
            receive(ours, "GET", time.monotonic())


def test_nobody_listens(run: Run) -> None:
    """Where nobody listens, the address and the way to give another one are told."""
    port = free_port()
    code, _, err = run("status", "--url", f"http://127.0.0.1:{port}")
    assert code == 2
    assert f"is the service listening on 127.0.0.1:{port}? give --url or PROBEKIT_URL" in err


def test_nobody_is_called_so(run: Run) -> None:
    """A host that has no address is told apart from one that does not answer."""
    code, _, err = run("status", "--url", "http://absent.invalid:8000")
    assert code == 2
    assert "the host 'absent.invalid' of http://absent.invalid:8000/admin/drain has no" in err


def test_no_connection_in_time(run: Run) -> None:
    """A connection that does not come about has a limit of its own."""
    with Peer(silence) as mute:
        url = mute.url.replace("http:", "https:")
        code, _, err = run("status", "--url", url, "--connect-timeout", "0.3")
    assert code == 2
    assert f"no connection to {url}/admin/drain within 0.3 s (--connect-timeout)" in err


def test_tls(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate is believed if it is trusted, and only then."""
    with Peer(answer("200 OK", state()), tls=True) as peer:
        code, _, err = run("status", "--url", peer.url)
        assert code == 2
        assert "certificate verify failed" in err
        assert "SSL_CERT_FILE" in err
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert run("status", "--url", peer.url).code == 0


def test_tls_to_somebody_who_speaks_none(run: Run) -> None:
    """A service without TLS is told in one line, too."""
    with Peer(answer("400 Bad Request", ""), listens=False) as peer:
        code, _, err = run("status", "--url", peer.url.replace("http:", "https:"))
    assert code == 2
    assert err.startswith("probekit status: cannot talk to https://127.0.0.1:")


def test_a_redirect_is_not_followed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is for the service, not for wherever it points to."""
    monkeypatch.setenv("PROBEKIT_ADMIN_TOKEN", "secret")
    with (
        Peer(answer("200 OK", state())) as other,
        Peer(answer("302 Found", "", f"Location: {other.url}/admin/drain")) as peer,
    ):
        assert run("status", "--url", peer.url).code == 2
        assert other.requests == []
    assert b"\r\nAuthorization: Bearer secret\r\n" in peer.requests[0]


def test_what_is_sent(run: Run) -> None:
    """The service gets one small request, for itself, with what was given and nothing else."""
    with Peer(answer("202 Accepted", state(draining=drain()))) as peer:
        run("drain", "--url", peer.url, "--by", "anna", "--lease", "1.5")
    [request] = peer.requests
    assert request.startswith(b"POST /admin/drain HTTP/1.1\r\nHost: 127.0.0.1:")
    assert request.endswith(b'\r\n\r\n{"by": "anna", "lease": 1.5}')
    assert b"Authorization" not in request


def test_texts_of_strangers_do_not_move_the_cursor(run: Run) -> None:
    """Control characters in an answer are shown, not obeyed."""
    body = state(draining=drain(reason="\x1b[2Jwiped"), in_flight={"\x07": 1}, sigterm="\r")
    with Peer(answer("200 OK", body)) as peer:
        out = run("status", "--url", peer.url).out
    assert "  reason: \\x1b[2Jwiped\n" in out
    assert "  in flight: \\x07 1\n" in out
    assert "  sigterm: \\r\n" in out


def test_the_beginning_may_lie_ahead(run: Run) -> None:
    """Where the clocks differ, a drain has lasted for no time, and not for less."""
    body = state(draining=drain(since="2999-01-01T00:00:00Z", until="2001-01-01T00:00:00Z"))
    with Peer(answer("200 OK", body)) as peer:
        out = run("status", "--url", peer.url).out
    assert out.startswith("draining for 0 s\n")
    assert "  lease: 0 s left, until 2001-01-01T00:00:00Z\n" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (180_060, "50 h 1 min")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """A length of time has two units at most."""
    assert span(seconds) == text


def test_the_rest_of_an_answer(run: Run) -> None:
    """What only some versions send is shown if it is there, and not missed if it is not."""
    full = state(draining=drain(since="soon"), in_flight={}, last_request=0.42, seen_503=3)
    with Peer(answer("200 OK", full), answer("200 OK", state())) as peer:
        assert run("status", "--url", peer.url).out == (
            "draining\n  since: soon\n  in flight: nothing\n  last request: 0.4 s ago\n"
            "  seen 503: 3\n  sigterm: armed\n  drain_delay: 5 s\n"
        )
        assert run("status", "--url", peer.url).out == (
            "serving\n  in flight: requests 0, websockets 0\n  sigterm: armed\n  drain_delay: 5 s\n"
        )


def test_several_workers_have_a_line_each(run: Run) -> None:
    """With how far a drain reaches; what makes no sense is a question mark, and moves no cursor."""
    one = {"pid": 7, "ready": None, "requests": 1, "jobs": 2, "loop_lag": 0.007, "age": 0.0}
    other = {"pid": "\x1b[2J", "ready": "so so", "draining": True}
    workers = [one, other, one | {"ready": True}, one | {"ready": False}, "no worker"]
    body = state(scope="pod", scope_reason=None, workers=workers)
    odd = state(scope="process", scope_reason="no place\x07", workers=[one])
    with Peer(answer("200 OK", body), answer("200 OK", odd), answer("200 OK", odd)) as peer:
        rest = "requests 1, jobs 2, loop 0.007 s late, said 0.0 s ago\n"
        assert run("status", "--url", peer.url).out == (
            "serving\n  in flight: requests 0, websockets 0\n  scope: pod\n"
            f"  worker 7: starting, {rest}"
            "  worker \\x1b[2J: ?, draining, loop ? s late, said ? s ago\n"
            f"  worker 7: ready, {rest}  worker 7: not ready, {rest}"
            "  sigterm: armed\n  drain_delay: 5 s\n"
        )
        out = run("status", "--url", peer.url).out
        assert "  scope: process (no place\\x07)\n  sigterm" in out
        assert run("status", "--json", "--url", peer.url).out == odd + "\n"


def test_a_worker_that_is_stuck_has_a_line_also_if_it_is_the_only_one(run: Run) -> None:
    """With what it is stuck in; of an older service nothing is known of that."""
    worker = {"pid": 7, "ready": False, "requests": 1, "loop_lag": 9.1, "age": 0.0}
    stuck = state(workers=[worker | {"stuck": "blocked in a call at orders.py:22"}])
    moving = state(workers=[worker | {"stuck": None}])
    with Peer(answer("200 OK", stuck), answer("200 OK", moving)) as peer:
        line = "worker 7: not ready, requests 1, loop 9.1 s late, said 0.0 s ago; stuck: blocked in"
        assert line in run("status", "--url", peer.url).out
        assert "worker" not in run("status", "--url", peer.url).out


def test_waiting_survives_a_missing_answer(run: Run) -> None:
    """While waiting, an answer that does not come is asked for again."""
    begun = answer("202 Accepted", state(draining=drain(), drain_delay=0))
    with Peer(begun, b"", begun) as peer:
        code, out, err = run("drain", "--wait", "--url", peer.url)
    assert (code, len(peer.requests)) == (0, 3)
    assert out.startswith("drained: ")
    assert err.count("\n") == 1


def test_control_c(run: Run) -> None:
    """Ctrl-C ends the command quietly."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt(peer: Peer, _: socket.socket) -> None:
        signal.pthread_kill(main_thread, signal.SIGINT)
        peer.over.wait()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells ignore it
    try:
        with Peer(interrupt) as peer:
            assert run("drain", "--wait", "--url", peer.url) == (130, "", "")
    finally:
        signal.signal(signal.SIGINT, before)
