"""Errors of the asker, as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from probekit._web.message import respond

if TYPE_CHECKING:
    from probekit._web.message import Response

__all__ = ["method_not_allowed", "not_found", "problem"]


def problem(status: int, detail: str, *headers: tuple[bytes, bytes]) -> Response:
    """Return a response that says what is wrong, where, and what to do instead."""
    title = HTTPStatus(status).phrase
    body = json.dumps({"title": title, "status": status, "detail": detail}).encode() + b"\n"
    return respond(status, b"application/problem+json", body, *headers)


def method_not_allowed(method: str, *allowed: str) -> Response:
    """Return a 405 that names the methods there are."""
    methods = ", ".join(allowed)
    detail = f"{method[:20]} is not understood here; use one of {methods}"
    return problem(405, detail, (b"allow", methods.encode()))


def not_found(detail: str) -> Response:
    """Return a 404."""
    return problem(404, detail)
