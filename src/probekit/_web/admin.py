"""``/admin/drain``: look at the switch, turn it, turn it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from probekit._core.text import TEXT_LIMIT
from probekit._lifecycle.drain import check_lease, check_text
from probekit._web.endpoint import Endpoint
from probekit._web.message import respond
from probekit._web.problem import method_not_allowed, problem
from probekit._web.render import drain_body
from probekit._web.workers import workers_body
from probekit.exceptions import ConfigurationError, DrainIsFinalError

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.access import Gate
    from probekit._web.message import Request, Response

__all__ = ["DrainEndpoint"]

BODY_LIMIT = 16 * 1024
FIELDS = ("reason", "by", "lease")


class DrainEndpoint(Endpoint):
    """GET shows the drain and what is in flight, POST begins it, DELETE ends it."""

    def __init__(self, service: Service, gate: Gate) -> None:
        super().__init__(allowed=None)
        self._service = service
        self._gate = gate

    async def respond(self, request: Request) -> Response:
        """Answer whoever may ask."""
        if (refusal := self._gate.refusal(request)) is not None:
            status, reason = refusal
            challenge = [(b"www-authenticate", b"Bearer")] if status == 401 else []
            return problem(status, reason, *challenge)
        match request.method:
            case "GET" | "HEAD":
                return self._state(200)
            case "POST":
                return await self._begin(request)
            case "DELETE":
                return self._end()
            case method:
                return method_not_allowed(method, "GET", "HEAD", "POST", "DELETE")

    async def _begin(self, request: Request) -> Response:
        body = await request.body(BODY_LIMIT)
        if body is None:
            return problem(413, f"the body is longer than {BODY_LIMIT} bytes, or broke off")
        options = options_of(body)
        if isinstance(options, str):
            return problem(400, options)
        try:
            check_options(options)
            drain = self._service.drain.begin(**options)
        except ConfigurationError as error:
            return problem(400, str(error))
        if drain.final:
            return problem(409, f"{drain.reason} began a drain already, and nothing changes it")
        return self._state(202)

    def _end(self) -> Response:
        try:
            self._service.drain.end()
        except DrainIsFinalError as error:
            return problem(409, str(error))
        return self._state(200)

    def _state(self, status: int) -> Response:
        service = self._service
        service.drain.look()
        workers = service.workers()
        state = {
            "draining": drain_body(service.drain.state),
            "fleet": drain_body(service.drain.fleet),
            "scope": service.pod.scope,
            "scope_reason": service.pod.obstacle,
            **workers_body(workers, service.clock.monotonic()),
            "sigterm": service.sigterm.status,
            "drain_delay": service.sigterm.plan.drain_delay,
        }
        return respond(status, b"application/json", json.dumps(state).encode() + b"\n")


def options_of(body: bytes) -> dict[str, Any] | str:
    """Return the options in the body of a POST, or what is wrong with it."""
    if not body.strip():
        return {}
    try:
        options: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"the body is no JSON: {error}"
    if not isinstance(options, dict):
        return f"the body must be a JSON object, got {in_json(options)}"
    given = cast("dict[str, Any]", options)
    for field in given:
        if field not in FIELDS:
            known = ", ".join(FIELDS)
            return f"{field[:50]!r} is no field of a drain; there are {known}"
    return given


def check_options(options: dict[str, Any]) -> None:
    """Refuse values that make no sense, in the words of who sent them.

    Raises:
        ConfigurationError: If there is one.
    """
    for field, value in options.items():
        if field == "lease":
            check_lease(value, shown=in_json)
        else:
            check_text(field, value, shown=in_json)


def in_json(value: object) -> str:
    """Return ``value`` as its sender wrote it: the beginning, or what it is if it has parts."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return json.dumps(value[:TEXT_LIMIT])
    return json.dumps(value)[:TEXT_LIMIT]
