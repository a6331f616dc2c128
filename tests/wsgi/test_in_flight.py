from __future__ import annotations

import gc
import io
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Probes
from probekit.wsgi import ProbeMiddleware

from ._asking import Asker, ask, environ_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Body:
    """A body that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    def close(self) -> None:
        """Count."""
        self.closed += 1


class FileWrapper:
    """What a server puts around a file, to have the kernel send it."""

    def __init__(self, file: io.BytesIO) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Rigid(FileWrapper):
    """One that takes no attributes, as if it were written in C."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if name == "close":
            raise AttributeError(name)
        super().__setattr__(name, value)


def returning(body: object, probes: Probes | None = None) -> tuple[ProbeMiddleware, Probes]:
    """Return an application that answers with ``body``, behind the probes."""

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        if isinstance(body, BaseException):
            raise body
        return body  # type: ignore[return-value] # what is wrong fails in the server

    probes = probes or Probes(drain_delay=0)
    return ProbeMiddleware(app, probes=probes), probes


def test_a_request_is_in_flight_until_its_body_is_closed() -> None:
    """The server's close is the end, and it reaches what is inside once."""
    body = Body()
    app, probes = returning(body)
    asker = Asker()
    response = app(environ_of("/orders/1"), asker.start_response)
    assert probes.in_flight["requests"] == 1
    assert "GET /orders/1 for" in str(probes.service.traffic)
    assert asker.finish(response).body == b"onetwo"
    assert (probes.in_flight["requests"], body.closed) == (0, 1)


def test_each_part_that_is_sent_is_a_sign_of_life() -> None:
    """The watchdog sees that a stream moves; what is given as a whole is counted when it ends."""
    app, probes = returning(Body())
    traffic = probes.service.traffic
    response = iter(app(environ_of("/"), Asker().start_response))
    seen = [(part, traffic.parts) for part in response]
    assert seen == [(b"one", 1), (b"two", 2)]
    app, _ = returning([b"all of it"], probes)
    assert ask(app, "/").body == b"all of it"
    assert traffic.parts == 2


def test_a_body_without_close_is_closed() -> None:
    """What is inside need not know the word."""
    app, probes = returning(map(bytes, [b"one", b"two"]))
    assert ask(app, "/").body == b"onetwo"
    assert probes.in_flight["requests"] == 0


def test_a_body_whose_close_fails_is_no_longer_in_flight() -> None:
    """The exception is the server's to handle, and the count is right."""

    class Failing(Body):
        def close(self) -> None:
            raise ValueError("cannot be closed")

    app, probes = returning(Failing())
    with pytest.raises(ValueError, match="cannot be closed"):
        ask(app, "/")
    assert probes.in_flight["requests"] == 0


def test_a_client_that_leaves_ends_its_request() -> None:
    """A body that is closed half-way counts no longer; a generator cleans up."""
    cleaned: list[bool] = []

    def parts() -> Iterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            cleaned.append(True)

    app, probes = returning(parts())
    response = app(environ_of("/"), Asker().start_response)
    assert next(iter(response)) == b"one"
    assert probes.in_flight["requests"] == 1
    response.close()  # type: ignore[attr-defined] # as a server does
    assert (probes.in_flight["requests"], cleaned) == (0, [True])


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_an_application_that_raises_has_nothing_in_flight(error: BaseException) -> None:
    """Whatever it raises reaches the server, and the count is right."""
    app, probes = returning(error)
    with pytest.raises(type(error)):
        ask(app, "/")
    assert probes.in_flight["requests"] == 0


@pytest.mark.parametrize("whole", [[b"all ", b"of it"], (b"all ", b"of it")])
def test_a_whole_body_keeps_its_length(whole: Iterable[bytes]) -> None:
    """A server that reads off a list's length what to send still can."""
    app, probes = returning(whole)
    asker = Asker()
    response = app(environ_of("/"), asker.start_response)
    assert isinstance(response, list)
    assert len(response) == 2
    assert probes.in_flight["requests"] == 1
    assert asker.finish(response).body == b"all of it"
    assert probes.in_flight["requests"] == 0


def test_a_list_that_nobody_closes_is_not_in_flight_for_ever() -> None:
    """A server that joins a list and drops it has sent it."""
    app, probes = returning([b"all of it"])
    response = app(environ_of("/"), Asker().start_response)
    assert probes.in_flight["requests"] == 1
    assert b"".join(response) == b"all of it"
    del response
    gc.collect()
    assert probes.in_flight["requests"] == 0


def test_a_file_stays_one_that_the_server_can_send() -> None:
    """The server finds its own wrapper, and closing that closes the file and ends the request."""
    file = io.BytesIO(b"content")
    wrapped = FileWrapper(file)
    app, probes = returning(wrapped)
    wrapper: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    environ = environ_of("/", **wrapper)
    response = app(environ, Asker().start_response)
    assert response is wrapped
    assert probes.in_flight["requests"] == 1
    wrapped.close()
    assert (probes.in_flight["requests"], file.closed) == (0, True)


@pytest.mark.parametrize("wrapper", [Rigid, lambda file: file])
def test_a_wrapper_that_cannot_be_watched_is_wrapped(wrapper: Any) -> None:
    """The file is sent chunk by chunk then, and closed all the same."""
    file = io.BytesIO(b"content")
    app, probes = returning(wrapper(file))
    asker = Asker()
    environ = environ_of("/", **{"wsgi.file_wrapper": wrapper})
    response = app(environ, asker.start_response)
    assert asker.finish(response).body == b"content"
    assert (probes.in_flight["requests"], file.closed) == (0, True)


def test_probes_are_not_in_flight() -> None:
    """An endpoint's answer is no work of the application's."""
    app, probes = returning([])
    asker = Asker()
    response = app(environ_of("/readyz"), asker.start_response)
    assert probes.in_flight["requests"] == 0
    asker.finish(response)


def test_the_traffic_is_evidence() -> None:
    """With ``drain_until="quiet"`` a drain does not end while ordinary requests come."""
    probes = Probes(drain_delay=0, drain_until="quiet", quiet_for=9)
    app, _ = returning([], probes)
    assert probes.service.evidence.enough(elapsed=10)
    ask(app, "/")
    assert not probes.service.evidence.enough(elapsed=10)
