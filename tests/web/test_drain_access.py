"""Who may turn the switch: the machine itself, networks, a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probekit import ConfigurationError
from probekit.asgi import ProbeMiddleware, probe_app
from tests.doors._apps import hello

from ._asking import ask, make_probes

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef-token"


@pytest.mark.parametrize("token", ["", "short", 12345678901234567, b"0123456789abcdef", "x" * 15])
def test_a_token_that_can_be_guessed_is_refused(token: Any) -> None:
    """A token is a string of some length; the message tells how to make one."""
    with pytest.raises(ConfigurationError, match=r"^admin_token must be .*secrets\.token_urlsafe"):
        probe_app(make_probes(), admin_token=token)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(" " * 16, id="blanks only"),
        pytest.param("\t\r\n" * 8, id="line breaks only"),
        pytest.param(" " * 8 + "x" * 15 + "\n" * 8, id="blanks around too little"),
        pytest.param(TOKEN + "\udcff", id="not UTF-8 in the environment"),
        pytest.param("ü" * 20, id="not ASCII"),
    ],
)
def test_a_token_that_nobody_can_present_is_refused(token: str) -> None:
    """A header cannot carry it, so every request would be refused: say so when the door is made."""
    with pytest.raises(ConfigurationError, match="admin_token"):
        probe_app(make_probes(), admin_token=token)


@pytest.mark.parametrize("token", [TOKEN + "\n", f"\t {TOKEN} \r\n"])
async def test_blanks_around_a_token_do_not_count(token: str) -> None:
    """A mounted secret ends in a line break: what it is without it opens, and nothing else."""
    assert await turn(headers={"authorization": f"Bearer {TOKEN}"}, admin_token=token) == 202
    assert await turn(headers={"authorization": f"Bearer {TOKEN}\n"}, admin_token=token) == 202
    assert await turn(headers={"authorization": f"Bearer {TOKEN}x"}, admin_token=token) == 401


# -- the drain ----------------------------------------------------------------------------------


async def turn(
    client: str | None = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    **options: Any,
) -> int:
    """Ask for a drain, see that it came exactly if the answer says so, and return the status."""
    probes = make_probes()
    app = probe_app(probes, **options)
    given = None if client is None else (client, 1)
    answer = await ask(app, "/admin/drain", method, client=given, headers=headers or {})
    if method == "POST":
        assert (probes.draining is not None) == (answer.status == 202)
    if answer.status in {401, 403}:
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)
        assert TOKEN not in answer.text
    return answer.status


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_whoever_sits_on_the_machine_may_turn_the_drain(client: str) -> None:
    """A direct loopback connection needs nothing else, and curl's headers do not harm it."""
    headers = {"host": "localhost:8000", "user-agent": "curl/8", "accept": "*/*"}
    assert await turn(client, headers) == 202


@pytest.mark.parametrize(
    "client", ["10.0.0.1", "fd00::1", "", "testclient", "127.0.0.1.example", None]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"])
async def test_nobody_else_may_turn_the_drain_or_look(client: str | None, method: str) -> None:
    """Others are refused before anything else is looked at."""
    assert await turn(client, method=method) == 403


PROXIES = [
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-for": ""},
    {"forwarded": "for=127.0.0.1"},
    {"via": "1.1 proxy"},
    {"x-real-ip": "127.0.0.1"},
    {"x-forwarded-proto": "https"},
    {"x-forwarded-host": "localhost"},
]
BROWSERS = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:8000"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-origin"},
    {"host": "evil.example:8000", "origin": "http://evil.example:8000"},
]


@pytest.mark.parametrize("headers", PROXIES + BROWSERS, ids=str)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_proxy_or_a_web_page_does_not_sit_on_the_machine(
    headers: dict[str, str], method: str
) -> None:
    """Loopback means nothing where somebody else may stand behind it."""
    assert await turn(headers=headers, method=method) == 403
    assert await turn("10.0.0.1", headers, method, admin_allow=["10.0.0.0/8"]) == 403


async def test_an_address_typed_into_a_browser_may_look() -> None:
    """No page is behind a request that a person made by hand."""
    assert await turn(headers={"sec-fetch-site": "none"}, method="GET") == 200


FOREIGN = [
    "evil.example:8000",
    "shop.example",
    "",
    ":8000",
    "0.0.0.0:8000",
    "10.0.0.1",
    "[fd00::1]:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example@127.0.0.1",
    "[evil.example]",
    "localhost,evil.example",
    "x" * 60_000,
]


@pytest.mark.parametrize("host", FOREIGN, ids=lambda host: host[:30])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_foreign_host_name_on_loopback_is_somebody_else(host: str, method: str) -> None:
    """A page that rebinds its name sends no Origin with GET, and HAProxy adds no header at all."""
    assert await turn(headers={"host": host}, method=method) == 403
    assert await turn(headers={"host": host}, method=method, admin_token=TOKEN) == 401


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        " localhost ",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
        "[::ffff:127.0.0.1]:8000",
    ],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
async def test_a_host_name_of_this_machine_is_no_obstacle(host: str, client: str) -> None:
    """By name or by address, with a port or without."""
    assert await turn(client, {"host": host}) == 202


async def test_two_host_names_are_not_this_machine() -> None:
    """Which of them the next one believes nobody knows."""
    app = probe_app(make_probes())
    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]
    answer = await ask(app, "/admin/drain", "POST", headers=headers)
    assert answer.status == 403
    assert "another host (Host)" in answer.json()["detail"]


async def test_whoever_is_let_in_by_address_or_token_may_use_any_host_name() -> None:
    """The name matters to the loopback rule alone."""
    headers = {"host": "shop.example"}
    assert await turn("10.1.2.3", headers, admin_allow=["10.0.0.0/8"]) == 202
    assert await turn("127.0.0.1", headers, admin_allow=["127.0.0.0/8"]) == 202
    headers["authorization"] = f"Bearer {TOKEN}"
    assert await turn("127.0.0.1", headers, admin_token=TOKEN) == 202


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded",
        "x-forwarded-port",
        "x-forwarded-server",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
    ],
)
async def test_other_proxies_betray_themselves_too(name: str) -> None:
    """Each of these is added by a proxy that people run."""
    assert await turn(headers={name: "203.0.113.7"}) == 403


@pytest.mark.parametrize(
    ("client", "code"),
    [
        ("10.1.2.3", 202),
        ("::ffff:10.1.2.3", 202),
        ("127.0.0.1", 202),
        ("11.0.0.1", 403),
        (None, 403),
    ],
)
async def test_a_list_opens_the_drain_to_its_networks(client: str | None, code: int) -> None:
    """The allow list stands beside loopback."""
    assert await turn(client, admin_allow=["10.0.0.0/8"]) == code


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (f"Bearer {TOKEN}", 202),
        (f"bearer {TOKEN}", 202),
        (f"BEARER   {TOKEN}  ", 202),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN},Bearer {TOKEN}", 401),
        ("Bearer tökén-ü-\x80", 401),
        ("Bearer \x00", 401),
        ("Bearer " + "x" * 60_000, 401),
    ],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "203.0.113.7", None])
async def test_only_the_token_opens(authorization: str, code: int, client: str | None) -> None:
    """The right token opens from anywhere, and a wrong one is refused even on the machine."""
    headers = [(b"authorization", authorization.encode("latin-1"))]
    probes = make_probes()
    app = probe_app(probes, admin_token=TOKEN)
    given = None if client is None else (client, 1)
    answer = await ask(app, "/admin/drain", "POST", client=given, headers=headers)
    assert answer.status == code
    assert (probes.draining is not None) == (code == 202)


async def test_the_token_opens_through_a_proxy() -> None:
    """That is what it is for."""
    headers = {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "203.0.113.7", "via": "1.1 x"}
    assert await turn("203.0.113.7", headers, admin_token=TOKEN) == 202


async def test_without_the_token_the_machine_itself_still_may() -> None:
    """The operator in the container needs no token; a stranger is asked for it."""
    assert await turn(admin_token=TOKEN) == 202
    assert await turn("203.0.113.7", admin_token=TOKEN) == 401
    assert await turn(headers={"origin": "https://evil.example"}, admin_token=TOKEN) == 401


async def test_a_token_where_none_is_configured_opens_nothing() -> None:
    """Credentials for somebody else's ears are no credentials."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert await turn("203.0.113.7", headers) == 403
    assert await turn("127.0.0.1", headers) == 202


async def test_a_client_that_a_server_took_from_a_header_is_no_loopback_client() -> None:
    """Behind uvicorn's proxy headers both the address and the header tell of the proxy."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    probes = make_probes()
    inner: Any = ProbeMiddleware(hello, probes=probes)
    app: Any = ProxyHeadersMiddleware(inner, trusted_hosts="*")
    for forged in ("127.0.0.1", "::1", "127.0.0.1, 127.0.0.1", "not an address", "unix:", ""):
        answer = await ask(app, "/admin/drain", "POST", headers={"x-forwarded-for": forged})
        assert answer.status == 403
        reason = "the request came through a proxy (x-forwarded-for)"
        assert answer.json()["detail"].startswith(reason)
    assert probes.draining is None
