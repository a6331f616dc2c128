"""The body of ``POST /admin/drain``, as servers hand it over and clients break it off."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes
from probekit._web.environ import request_of
from probekit.wsgi import ProbeMiddleware
from tests.full_pool import full_pool
from tests.waiting import wait_until

from ._asking import ask

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE = b'{"lease": 60}'
TERMINATED = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}


class Dribble(io.RawIOBase):
    """An input that gives one byte at a time."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1, /) -> bytes:
        """Return the next byte."""
        return self._content.read(min(size, 1))


class Broken(io.RawIOBase):
    """An input whose client is gone."""

    def read(self, size: int = -1, /) -> bytes:
        """Raise what a socket raises."""
        raise ConnectionResetError


@pytest.fixture
def probes() -> Probes:
    """The probes of the application that is asked."""
    return Probes(drain_delay=0)


@pytest.fixture
def post(probes: Probes) -> Callable[..., int]:
    """Post a body to the switch, and return the status."""

    def never(*_: Any) -> list[bytes]:
        raise AssertionError("the application was asked")

    app = ProbeMiddleware(never, probes=probes)

    def send(body: bytes = b"", **more: Any) -> int:
        return ask(app, "/admin/drain", "POST", body, **more).status

    return send


def leased(probes: Probes) -> bool:
    """Whether the lease of the body was taken."""
    return probes.draining is not None and probes.draining.until is not None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"wsgi.input": Dribble(LEASE)},
        {"CONTENT_LENGTH": "", "wsgi.input": io.BytesIO(LEASE), **TERMINATED},
        {"CONTENT_LENGTH": "", "wsgi.input": Dribble(LEASE), **TERMINATED},
        {"HTTP_TRANSFER_ENCODING": "chunked"},  # waitress has put it together
    ],
)
def test_a_whole_body_is_read(
    probes: Probes, post: Callable[..., int], more: dict[str, Any]
) -> None:
    """However the server hands it over, and however slowly."""
    assert post(LEASE, **more) == 202
    assert leased(probes)


def test_no_body_is_no_options(probes: Probes, post: Callable[..., int]) -> None:
    """A POST without one begins a drain without a lease."""
    assert post(CONTENT_LENGTH="") == 202
    assert probes.draining is not None
    assert not leased(probes)


@pytest.mark.parametrize(
    "more",
    [
        {"CONTENT_LENGTH": "100"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "many"},
        {"CONTENT_LENGTH": "16385", "wsgi.input": io.BytesIO(b" " * 16_385)},
        {"CONTENT_LENGTH": "", "wsgi.input": io.BytesIO(b" " * 16_385), **TERMINATED},
        {"wsgi.input": Broken()},
        {"CONTENT_LENGTH": "", "wsgi.input": Broken(), **TERMINATED},
        {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_half_a_body_begins_nothing(
    probes: Probes, post: Callable[..., int], more: dict[str, Any]
) -> None:
    """A body that is cut off, too long or of no known end might say something else as a whole."""
    assert post(LEASE, **more) == 413
    assert probes.draining is None


def test_a_slow_client_holds_up_nobody(probes: Probes) -> None:
    """While one sends its body, the probes of others are answered."""
    app = ProbeMiddleware(lambda *_: [], probes=probes)
    asked, sent = threading.Event(), threading.Event()

    class Slow(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            asked.set()
            sent.wait(10)
            return LEASE[:size]

    statuses: list[int] = []

    def post() -> None:
        statuses.append(ask(app, "/admin/drain", "POST", LEASE, **{"wsgi.input": Slow()}).status)

    client = threading.Thread(target=post)
    client.start()
    wait_until(asked.is_set, "the body is waited for")
    assert ask(app, "/readyz").status == 200
    assert statuses == []
    sent.set()
    client.join()
    assert statuses == [202]


@pytest.mark.anyio
async def test_a_body_waits_for_no_thread_of_the_pool() -> None:
    """Clients that send half of one may have taken up all of them."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(LEASE)),
        "wsgi.input": io.BytesIO(LEASE),
    }
    async with full_pool() as is_full:
        assert await request_of(environ, "").body(100) == LEASE
        assert is_full()
