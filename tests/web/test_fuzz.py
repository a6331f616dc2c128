"""Whatever arrives at an endpoint, a whole response leaves, and the state stays whole."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probekit import Degraded, Drain, Probe, Unhealthy
from probekit.asgi import ProbeMiddleware, probe_app
from tests.doors._apps import hello

from ._asking import Answer, HeldClock, call, make_probes, scope_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probekit import Probes
    from probekit._web.asgi_types import ASGIApp, Message, Scope

TOKEN = "0123456789abcdef-token"
SECRETS = ("hunter2", TOKEN)
CODES = {200, 202, 400, 401, 403, 404, 405, 409, 413, 503}

letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
methods = st.sampled_from(
    ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "get", "", "X" * 300]
)
paths = st.builds(
    "{}{}{}".format,
    st.sampled_from(["/healthz", "/readyz", "/startupz", "/admin/drain", "/metrics", ""]),
    st.sampled_from(["", "/", "//", "/database", "/cache/", "/../readyz", "/%00", "\x00"]),
    st.one_of(st.just(""), letters),
)
queries = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([b"verbose", b"exclude=database", b"exclude=x", b"exclude", b"%ff", b"="])
    ).map(b"&".join),
)
names = st.sampled_from(
    [
        b"accept",
        b"authorization",
        b"origin",
        b"x-forwarded-for",
        b"sec-fetch-site",
        b"content-length",
        b"content-type",
        b"host",
    ]
)
values = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"*/*",
            b"text/plain",
            b"application/health+json",
            b"text/*;q=nan",
            b"Bearer " + TOKEN.encode(),
            b"Bearer x",
            b"none",
        ]
    ),
)
headers = st.lists(st.tuples(names, values), max_size=4)
clients = st.sampled_from(
    [("127.0.0.1", 1), ("::1", 1), ("10.0.0.1", 1), ("", 0), ("\ud800", 1), None]
)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.just(float("nan"))
fields = st.fixed_dictionaries(
    {},
    optional={
        "reason": letters | st.just("x" * 201) | st.none(),
        "by": letters | st.just(5),
        "lease": numbers | st.booleans() | letters,
        "other": st.none(),
    },
)
bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    fields.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"[" * 9000, b"{" * 20_000, b'"', b"null", b"9" * 5000]),
)


def pieces(body: bytes, size: int) -> Iterator[Message]:
    """Yield ``body`` in messages of so many bytes."""
    for start in range(0, len(body) + 1, size):
        more = start + size <= len(body)
        yield {"type": "http.request", "body": body[start : start + size], "more_body": more}


class Exporter:
    """Renders something."""

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the length of the header."""
        return "text/plain", str(len(accept)).encode()


def application() -> tuple[ASGIApp, Probes]:
    """Return an application with checks of every kind, and its Probes."""
    probes = make_probes(HeldClock())

    @probes.readiness
    async def database() -> None:
        raise OSError("hunter2")

    @probes.readiness(critical=False)
    async def cache() -> None:
        raise Degraded("cold", detail={"keys": 0})

    @probes.startup
    async def model() -> None:
        raise Unhealthy("loading")

    return ProbeMiddleware(hello, probes=probes, admin_token=TOKEN, metrics=Exporter()), probes


def assert_whole(answer: Answer, method: str) -> None:
    """Assert that a response is one that every HTTP client understands."""
    start, *rest = answer.messages
    assert [start["type"], *(each["type"] for each in rest)] == [
        "http.response.start",
        "http.response.body",
    ]
    assert answer.status in CODES
    found = [name for name, _ in answer.raw_headers]
    assert len(set(found)) == len(found)
    for name, value in answer.raw_headers:
        assert name == name.lower()
        assert not any(byte in value for byte in b"\r\n\x00")
    length = int(answer.headers["content-length"])
    assert answer.body == b"" if method == "HEAD" else len(answer.body) == length
    assert length < 20_000 + 10_000  # a wrong value is shown as it came
    if answer.body and "json" in answer.headers["content-type"]:
        answer.json()
    assert not any(secret in answer.text for secret in SECRETS)
    if answer.status in {400, 401, 403, 404, 405, 409, 413}:
        assert answer.headers["content-type"] == "application/problem+json"


def assert_state_whole(probes: Probes, before: Drain | None, answer: Answer, scope: Scope) -> None:
    """Assert that nothing but an answered POST or DELETE of the drain has turned the switch."""
    assert probes.in_flight == {"requests": 0, "websockets": 0, "jobs": 0}
    assert [len(probes.checks(probe)) for probe in Probe] == [0, 2, 1]
    turned = scope["path"].startswith("/admin/drain") and scope["method"] in {"POST", "DELETE"}
    if not (turned and answer.status in {200, 202}):
        assert probes.draining is before
    if answer.status == 202:
        assert probes.draining is not None


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    requests=st.lists(
        st.tuples(methods, paths, queries, headers, clients, bodies, st.integers(1, 9000)),
        min_size=1,
        max_size=6,
    ),
    draining=st.booleans(),
)
def test_every_request_gets_a_whole_answer(requests: list[Any], draining: bool) -> None:
    """Any method, path, query, headers, client and body: a response, and a whole state."""

    async def main() -> None:
        app, probes = application()
        if draining:
            probes.drain(reason="before")
        for method, path, query, pairs, client, body, size in requests:
            scope = scope_of(path, method, query=query, headers=pairs, client=client)
            before = probes.draining
            incoming = pieces(body, max(size, len(body) // 100))
            answer = await call(app, scope, incoming)
            if answer.body != b"hello":  # the application's own
                assert_whole(answer, method)
            assert_state_whole(probes, before, answer, scope)

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz", "/admin/drain"])
@given(query=queries, pairs=headers)
@settings(deadline=None, max_examples=50)
def test_a_probe_is_answered_with_200_or_503_whatever_it_adds(
    path: str, query: bytes, pairs: list[tuple[bytes, bytes]]
) -> None:
    """No query and no header makes a probe anything but passed or failed."""

    async def main() -> None:
        probes = make_probes(HeldClock())
        probes.drain()
        answer = await call(probe_app(probes), scope_of(path, query=query, headers=pairs), [])
        expected = {"/readyz": {503}, "/admin/drain": {200, 403}}.get(path, {200})
        assert answer.status in expected
        assert_whole(answer, "GET")

    asyncio.run(main())
