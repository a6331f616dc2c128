"""Who may ask at all."""

from __future__ import annotations

from typing import Any

import pytest

from probekit import ConfigurationError
from probekit.asgi import probe_app

from ._asking import ask, make_probes

pytestmark = pytest.mark.anyio

PRIVATE = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]

INSIDE = ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fd00::1%eth0", "192.0.2.7"]
OUTSIDE = [
    "11.0.0.1",
    "127.0.0.1",
    "fe80::1%eth0",
    "::ffff:11.0.0.1",
    "",
    "testclient",
    "10.1",
    "9" * 9000,
]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz"])
@pytest.mark.parametrize("address", INSIDE)
async def test_an_allowed_network_gets_answers(path: str, address: str) -> None:
    """IPv4, IPv6, IPv4 in the guise of IPv6, with a zone: what lies inside is answered."""
    app = probe_app(make_probes(), allow=PRIVATE)
    assert (await ask(app, path, client=(address, 1))).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz", "/readyz/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("address", [*OUTSIDE, None])
async def test_everybody_else_finds_nothing(path: str, method: str, address: str | None) -> None:
    """Others, garbage and Unix sockets get 404, whatever their method."""
    app = probe_app(make_probes(), allow=PRIVATE)
    client = None if address is None else (address, 1)
    answer = await ask(app, path, method, client=client)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_empty_list_allows_nobody() -> None:
    """No network is not the same as no list."""
    assert (await ask(probe_app(make_probes(), allow=[]), "/readyz")).status == 404


async def test_a_header_cannot_lend_an_address() -> None:
    """Who may ask is decided by the connection alone."""
    app = probe_app(make_probes(), allow=PRIVATE)
    answer = await ask(
        app, "/readyz", client=("11.0.0.1", 1), headers={"x-forwarded-for": "10.0.0.1"}
    )
    assert answer.status == 404


@pytest.mark.parametrize("option", ["allow", "admin_allow"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("10.0.0.0/8", "must be a list of networks, got the string '10.0.0.0/8'"),
        (["10.0.0.1/8"], "'10.0.0.1/8' is no network such as"),
        (["localhost"], "'localhost' is no network such as"),
        ([""], "'' is no network such as"),
        ([5], "5 is no network such as '10.0.0.0/8' or '::1': it is no string"),
        ([b"\x0a\x00\x00\x01"], "is no network such as"),
        (5, "must be a list of networks, got 5"),
        (True, "must be a list of networks, got True"),
        (["::1%lo"], None),
    ],
)
def test_what_is_no_network_is_refused_at_once(
    option: Any, given: Any, message: str | None
) -> None:
    """A misspelt list is refused when the door is made, not when somebody knocks."""
    if message is None:
        probe_app(make_probes(), **{option: given})
        return
    with pytest.raises(ConfigurationError, match=f"^{option}.*{message}"):
        probe_app(make_probes(), **{option: given})
