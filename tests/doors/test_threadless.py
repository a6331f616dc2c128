"""A start for which the system grants no thread: it harms no request, and is tried again."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from probekit.asgi import ProbeMiddleware
from probekit.wsgi import ProbeMiddleware as WSGIMiddleware
from tests.waiting import until
from tests.web._asking import ask, make_probes
from tests.wsgi._asking import ask as ask_wsgi

from ._apps import LifespanRun, hello, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probekit import Probes
    from probekit.wsgi import StartResponse

KEEPERS = ["probekit:pod", "probekit:watchdog"]
"""The threads of a service that has begun."""
AGAIN = "probekit failed to begin; it tries again with each request"


@contextmanager
def no_thread(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let no thread of that name start."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def running(probes: Probes) -> list[str]:
    """Return which of its threads run."""
    service = probes.service
    threads = [service._keeper._thread, service.watchdog._keeper._thread]
    return [each.name for each in threads if each is not None and each.is_alive()]


@pytest.mark.anyio
@pytest.mark.parametrize("name", KEEPERS)
async def test_a_request_that_finds_no_thread_is_answered_and_the_next_one_begins(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a user's, who has nothing to do with it; the log has the traceback."""
    probes = make_probes()
    ran = ticking(probes)
    app = ProbeMiddleware(hello, probes=probes)
    with no_thread(monkeypatch, name):
        for _ in range(3):
            assert (await ask(app, "/")).text == "hello"
    assert caplog.messages == [AGAIN]
    assert "RuntimeError: can't start new thread" in caplog.text
    assert (await ask(app, "/")).text == "hello"
    assert running(probes) == KEEPERS
    await until(lambda: len(ran) >= 2)
    assert caplog.messages == [AGAIN]
    await probes.service.stopped()


def test_a_request_of_wsgi_that_finds_no_thread_is_answered_and_the_next_one_begins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the log has promised."""
    probes = make_probes()

    def greet(_environ: dict[str, object], start: StartResponse) -> list[bytes]:
        start("200 OK", [])
        return [b"hello"]

    app = WSGIMiddleware(greet, probes=probes)
    with no_thread(monkeypatch, KEEPERS[0]):
        for _ in range(3):
            assert ask_wsgi(app, "/").body == b"hello"
    assert caplog.messages == [AGAIN]
    assert ask_wsgi(app, "/").body == b"hello"
    assert running(probes) == KEEPERS
    assert caplog.messages == [AGAIN]


def test_a_beginning_that_finds_no_thread_is_told_to_who_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And may be asked for again."""
    probes = make_probes()
    with no_thread(monkeypatch, KEEPERS[0]), pytest.raises(RuntimeError, match="new thread"):
        probes.begin()
    probes.begin()
    assert running(probes) == KEEPERS


@pytest.mark.anyio
@pytest.mark.parametrize("name", KEEPERS)
async def test_an_own_lifespan_that_finds_no_thread_may_be_entered_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of the start that failed."""
    probes = make_probes()
    with no_thread(monkeypatch, name), pytest.raises(RuntimeError, match="can't start new thread"):
        async with probes.lifespan():
            raise AssertionError("never reached")
    assert (probes.service.phase, probes.loop_lag) == ("idle", 0.0)
    async with probes.lifespan():
        assert running(probes) == KEEPERS


@pytest.mark.anyio
async def test_a_request_begins_where_a_lifespan_found_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some servers take a startup that fails for an application that knows no lifespan."""
    probes = make_probes()
    app = ProbeMiddleware(hello, probes=probes)
    with no_thread(monkeypatch, KEEPERS[0]):
        run = await LifespanRun(app).run()
    assert "can't start new thread" in str(run.error)
    assert (await ask(app, "/")).status == 200
    assert running(probes) == KEEPERS
    await probes.service.stopped()
