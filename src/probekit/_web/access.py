"""Who may ask, and who may turn the switch."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias, cast

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from probekit._web.message import Request

__all__ = ["Gate", "Network", "networks", "within"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED = (
    b"cf-connecting-ip",
    b"forwarded",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-forwarded",
    b"x-original-forwarded-for",
    b"x-real-ip",
)
"""What the headers begin with by which a proxy betrays itself: behind one on this machine, every
client seems to be on this machine."""


def networks(option: str, given: Iterable[str]) -> tuple[Network, ...]:
    """Return networks in CIDR notation as objects.

    Raises:
        ConfigurationError: If one of them is none.
    """
    if isinstance(given, str):
        raise ConfigurationError(f"{option} must be a list of networks, got the string {given!r}")
    if not isinstance(cast("object", given), Iterable):
        raise ConfigurationError(f"{option} must be a list of networks, got {given!r}")
    return tuple(network(option, text) for text in given)


def network(option: str, text: object) -> Network:
    """Return one of them as an object."""
    reason = "it is no string"
    if isinstance(text, str):  # a number would be an address, too
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            reason = str(error)
    raise ConfigurationError(
        f"{option}: {text!r} is no network such as '10.0.0.0/8' or '::1': {reason}"
    )


TOKEN_LENGTH = 16


def checked_token(token: object) -> str:
    """Return ``token``, or refuse one that can be guessed."""
    if isinstance(token, str):
        token = token.strip()  # a mounted secret ends in a newline
        if len(token) >= TOKEN_LENGTH and token.isascii():
            return token
    raise ConfigurationError(
        f"admin_token must be at least {TOKEN_LENGTH} ASCII characters; make one with: "
        f"python -c 'import secrets; print(secrets.token_urlsafe())'"
    )


class Gate:
    """Decides who may look at the drain and turn it.

    Without options: whoever sits on this machine and talks to it directly, by no proxy and from no
    web page. A list of networks opens it to their addresses under the same conditions, a token to
    whoever presents it.

    Args:
        token: A bearer token, or None.
        allow: Networks in CIDR notation.

    Raises:
        ConfigurationError: If an argument makes no sense.
    """

    def __init__(self, *, token: str | None, allow: Iterable[str]) -> None:
        self._token = None if token is None else checked_token(token)
        self._allow = networks("admin_allow", allow)

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Return the status and the reason for which ``request`` is refused, or None."""
        credentials = request.header(b"authorization")
        if credentials is not None and self._token is not None:
            return None if self._knows(credentials) else (401, "the token is not the right one")
        reason = self._not_direct(request)
        if reason is None:
            return None
        remedy = "ask from the machine itself, without a proxy"
        if self._token is not None:
            return 401, f"{reason}; send the token (Authorization: Bearer ...), or {remedy}"
        return 403, f"{reason}; {remedy}, or configure admin_token= or admin_allow="

    def _knows(self, credentials: str) -> bool:
        scheme, _, token = credentials.partition(" ")
        right = (self._token or "").encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), right)

    def _not_direct(self, request: Request) -> str | None:
        client = request.client
        if client is None:
            return "the request came through a Unix socket, so nobody knows from where"
        # Before the address, which a server may have taken from such a header.
        for name, _ in request.headers:
            if name.startswith(FORWARDED):
                return f"the request came through a proxy ({name.decode('latin-1')})"
        if not within(client, self._allow):
            if not is_loopback(client):
                return "this address may not turn the drain"
            if not names_loopback(request.header(b"host")):
                # A proxy that adds nothing passes this on; so does a browser that was told that
                # somebody's name is the address of this machine.
                return "the request was meant for another host (Host)"
        if request.header(b"origin") is not None:
            return "a web page may not turn the drain (Origin)"
        if request.header(b"sec-fetch-site") not in {None, "none"}:
            return "a web page may not turn the drain (Sec-Fetch-Site)"
        return None


def names_loopback(host: str | None) -> bool:
    """Whether a Host header means this machine; HTTP/1.0 may leave it out."""
    if host is None:
        return True
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name == "localhost" or is_loopback(name)


def is_loopback(client: str) -> bool:
    """Whether ``client`` is an address of this machine itself."""
    address = address_of(client)
    return address is not None and address.is_loopback


def within(client: str | None, allowed: tuple[Network, ...]) -> bool:
    """Whether the address ``client`` lies in one of the networks; a Unix socket does not."""
    address = address_of(client or "")
    return address is not None and any(address in network for network in allowed)


def address_of(client: str) -> Address | None:
    """Return an address as an object; IPv4 in the guise of IPv6 as what it is."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
