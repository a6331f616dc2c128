"""What stands in Redis: the names of the keys, and the JSON in them."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple, cast

from probekit._core.model import Drain
from probekit._fleet.failures import ForeignKeyError
from probekit._lifecycle.drain import check_text
from probekit.exceptions import ConfigurationError

__all__ = ["MARKER", "Keys", "Pod", "Word", "dump_switch", "keys_of", "parse_pod", "parse_switch"]

VERSION = 1
MARKER = "probekit"
"""The field that tells our JSON from another application's, and our hash likewise."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Keys(NamedTuple):
    """Where an application's fleet is.

    Attributes:
        switch: The drain of the whole fleet, as JSON; it expires with its lease.
        turned: The channel that tells of a change of it.
        pods: A hash: what each pod last said of itself.
    """

    switch: str
    turned: str
    pods: str


class Word(NamedTuple):
    """The drain of the fleet, as it was read.

    Attributes:
        drain: What it is; ``until`` is left open.
        left: Seconds until its lease ends, by the clock of Redis; infinity without one.
    """

    drain: Drain
    left: float


class Pod(NamedTuple):
    """What a pod said of itself.

    Attributes:
        id: Tells it from every other.
        host: The name of its machine or container.
        application: The version of the application.
        since: When it was first seen (seconds since the epoch, by the clock of Redis).
        at: When it said this (likewise).
        left: Whether it has left in order.
        workers: How many processes serve.
        ready: How many of them are ready.
        unknown: How many have not said yet whether they are.
        draining: How many drain.
        requests: How many requests are in flight in them.
        websockets: How many WebSockets are open.
        jobs: How many jobs are in flight.
        fleet: Whether it has seen that the fleet drains.
    """

    id: str
    host: str
    application: str
    since: float = 0.0
    at: float = 0.0
    left: bool = False
    workers: int = 0
    ready: int = 0
    unknown: int = 0
    draining: int = 0
    requests: int = 0
    websockets: int = 0
    jobs: int = 0
    fleet: bool = False

    def json(self) -> str:
        """Return what is written."""
        return dump("fleet-pod", self._asdict())


def keys_of(app: object) -> Keys:
    """Return the keys of an application.

    Raises:
        ConfigurationError: If its name is none.
    """
    if not isinstance(app, str) or not NAME.fullmatch(app):
        # Who exchanges the two arguments, or variables, gives the URL, which may hold the password.
        got = "an address, which is not shown" if re.search("@|://", str(app)) else f"{app!s:.80}"
        raise ConfigurationError(
            f"fleet: app must be 1 to 64 letters, digits, dots, hyphens and underscores, and begin "
            f"with a letter or a digit; got {got!r}"
        )
    return Keys(*(f"probekit:fleet:{app}:{kind}" for kind in Keys._fields))


def dump(kind: str, content: dict[str, Any]) -> str:
    """Return JSON that says what it is."""
    return json.dumps({MARKER: kind, "version": VERSION} | content)


def parse(kind: str, data: bytes, key: str) -> dict[str, Any]:
    """Return what `dump` was given.

    Raises:
        ForeignKeyError: If it was not, or by another version of probekit.
    """
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    content = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if content.get(MARKER) != kind:
        raise ForeignKeyError(key, "something that probekit has not written")
    if (version := content.get("version")) != VERSION:
        raise ForeignKeyError(key, f"format {version!r} and not {VERSION}, of another probekit")
    return content


def dump_switch(drain: Drain) -> str:
    """Return what is written of a drain."""
    told = {"reason": drain.reason, "by": drain.by, "since": drain.since}
    return dump("fleet-switch", told)


def parse_switch(data: bytes, key: str) -> Drain:
    """Return the drain that the switch holds.

    Raises:
        ForeignKeyError: If it holds none.
    """
    content = parse("fleet-switch", data, key)
    try:
        since = float(content["since"])
        if not math.isfinite(since) or not 0 <= since < 1e11:
            raise ValueError(f"since is {since}")  # noqa: TRY301 - one sentence for all that is odd
        for name in ("reason", "by"):
            check_text(name, content[name])
        return Drain(since=since, reason=content["reason"], by=content["by"])
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise ForeignKeyError(key, f"a drain that makes no sense ({error})") from None


def parse_pod(name: bytes, data: bytes, key: str) -> Pod:
    """Return what a pod said of itself.

    Raises:
        ForeignKeyError: If probekit has not written it.
    """
    content = parse("fleet-pod", data, key)
    given: dict[str, Any] = {"id": name.decode(errors="replace")}
    try:
        for field, kind in KINDS.items():
            given[field] = kind(content[field])
        return Pod(**given)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ForeignKeyError(key, f"a pod that makes no sense ({error!r})") from None


KINDS = {
    "host": str,
    "application": str,
    "since": float,
    "at": float,
    "left": bool,
    "workers": int,
    "ready": int,
    "unknown": int,
    "draining": int,
    "requests": int,
    "websockets": int,
    "jobs": int,
    "fleet": bool,
}
