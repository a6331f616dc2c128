"""What an answer of ``/admin/drain`` means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from probekit.cli._client import ADMIN_PATH
from probekit.cli._failures import CannotAsk, NoAnswer, Unwanted
from probekit.cli._text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probekit.cli._client import Answer, Client

__all__ = ["State", "problem_of", "state_of"]


class State(NamedTuple):
    """How a process is.

    Attributes:
        draining: The drain as it was sent, or None.
        in_flight: What the application is busy with, by kind.
        sigterm: What SIGTERM will do.
        drain_delay: Seconds between SIGTERM and its hand-over to the server.
        last_request: Seconds since the last ordinary request came; None if none has come, or the
            service does not say.
        seen_503: How many 503s the prober that asked most often has seen in this drain; None if the
            service does not say.
        raw: The answer itself.
        scope: How far a drain reaches; empty if the service does not say.
        scope_reason: Why it reaches no farther; empty if nothing is wrong.
        workers: What each worker says of itself, as it was sent.
    """

    draining: Mapping[str, object] | None
    in_flight: Mapping[str, int]
    sigterm: str
    drain_delay: float
    last_request: float | None
    seen_503: int | None
    raw: str
    scope: str = ""
    scope_reason: str = ""
    workers: tuple[Mapping[str, object], ...] = ()


def state_of(answer: Answer, client: Client) -> State:
    """Return the state that ``answer`` describes.

    Args:
        answer: What came.
        client: Who asked.

    Raises:
        Failure: The answer is another one; the text says which, and what to do.
    """
    url = client.endpoint.url
    match answer.status:
        case 200 | 202:
            return parsed(answer, url)
        case 401 | 403:
            raise Unwanted(refused(answer, client))
        case 404:
            raise CannotAsk(
                f"there is no {ADMIN_PATH} at {url} (404); mount ProbeMiddleware in the service, "
                "or give the prefix under which it is mounted in --url or PROBEKIT_URL"
            )
        case status if 300 <= status < 400:
            raise CannotAsk(
                f"{url} redirects to {shown(answer.location) or 'nowhere'} ({status}), which is "
                "not followed; give the right address in --url or PROBEKIT_URL"
            )
        case status if 400 <= status < 500:
            raise Unwanted(f"{url} answered {status}: {problem_of(answer)}")
        case status:
            raise NoAnswer(
                f"{url} answered {status}: {problem_of(answer)}; "
                "probekit never does, so is that the service itself?"
            )


def refused(answer: Answer, client: Client) -> str:
    """Return what to tell somebody who may not ask."""
    if client.has_token:
        remedy = (
            "is the token of --token-file or PROBEKIT_ADMIN_TOKEN the service's admin_token, and "
            "does it have one?"
        )
    else:
        remedy = (
            "call it from the container itself, or set PROBEKIT_ADMIN_TOKEN to the service's "
            "admin_token"
        )
    return f"{client.endpoint.url} answered {answer.status}: {problem_of(answer)}; {remedy}"


def problem_of(answer: Answer) -> str:
    """Return what the service says is wrong, or the phrase of the status if it says nothing."""
    detail = None
    if (body := object_of(answer.body)) is not None:
        detail = body.get("detail")
    return shown(detail if isinstance(detail, str) and detail else answer.reason)


def parsed(answer: Answer, url: str) -> State:
    """Return the state in the body of ``answer``."""
    body = object_of(answer.body)
    if body is None:
        raise CannotAsk(
            f"{url} answered {answer.status}, but no JSON object: "
            f"{shown(answer.text[:50])!r}; "
            "is that the service? give --url or PROBEKIT_URL"
        )
    draining = body.get("draining", "")
    in_flight = counts_of(body.get("in_flight"))
    drain_delay = number(body.get("drain_delay"))
    drain_known = draining is None or isinstance(draining, dict)
    if not drain_known or in_flight is None or drain_delay is None:
        raise CannotAsk(
            f"{url} answered with JSON, but not with a drain; is that probekit, in a version "
            "of this age? give --url or PROBEKIT_URL"
        )
    seen_503 = number(body.get("seen_503"))
    return State(
        draining=draining,
        in_flight=in_flight,
        sigterm=shown(str(body.get("sigterm", "unknown"))),
        drain_delay=drain_delay,
        last_request=number(body.get("last_request")),
        seen_503=None if seen_503 is None else int(seen_503),
        raw=answer.text,
        scope=text_in(body, "scope"),
        scope_reason=text_in(body, "scope_reason"),
        workers=workers_in(body),
    )


def text_in(body: Mapping[str, object], name: str) -> str:
    """Return a field that is a text, or an empty one."""
    value = body.get(name)
    return shown(value) if isinstance(value, str) else ""


def workers_in(body: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """Return the workers that are objects, none if the service does not say."""
    found = body.get("workers")
    items = cast("list[object]", found) if isinstance(found, list) else []
    return tuple(cast("dict[str, object]", item) for item in items if isinstance(item, dict))


def counts_of(value: object) -> dict[str, int] | None:
    """Return ``value`` if it is a mapping of names to numbers."""
    if not isinstance(value, dict):
        return None
    given = cast("dict[str, object]", value)
    counts = {name: number(count) for name, count in given.items()}
    known = {name: int(count) for name, count in counts.items() if count is not None}
    return known if len(known) == len(counts) else None


def object_of(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that these bytes are, or None."""
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def number(value: object) -> float | None:
    """Return ``value`` if it is a number that is not below zero; NaN is none, nor is a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= 1e12 else None
