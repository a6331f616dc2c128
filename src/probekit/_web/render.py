"""A report as bytes: JSON, the IETF draft's ``health+json``, or text for a person."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from probekit._core.model import Probe, Status
from probekit._web.question import HEALTH_JSON, JSON, TEXT

if TYPE_CHECKING:
    from probekit._core.model import CheckResult, Drain, Report

__all__ = ["Details", "content_type", "drain_body", "moment", "render"]

Details: TypeAlias = Literal["full", "status", "none"]

_PATHS = {Probe.LIVENESS: "healthz", Probe.READINESS: "readyz", Probe.STARTUP: "startupz"}
_DRAFT = {
    Status.HEALTHY: "pass",
    Status.DEGRADED: "warn",
    Status.UNKNOWN: "fail",
    Status.UNHEALTHY: "fail",
}
encode = json.JSONEncoder().encode
_OPENINGS = {
    (status, critical): f'{{"status": "{status.value}", "critical": {encode(critical)}'
    for status in Status
    for critical in (True, False)
}


def render(report: Report, media: str, details: Details, *, more: str = "") -> bytes:
    """Return ``report`` in the form ``media``, with as much in it as ``details`` allows.

    Args:
        report: The answer.
        media: The form.
        details: How much strangers see.
        more: Further lines of the text, each with its end.
    """
    if media == TEXT:
        text = text_body(report, details, more)
    elif media == HEALTH_JSON:
        text = encode(draft_body(report, details))
    else:
        text = json_body(report, details)
    return (text + "\n").encode("utf-8", "replace")


def content_type(media: str) -> bytes:
    """Return the Content-Type of ``media``."""
    return {JSON: b"application/json", TEXT: b"text/plain; charset=utf-8"}.get(
        media, media.encode()
    )


# -- JSON ---------------------------------------------------------------------------------------


def json_body(report: Report, details: Details) -> str:
    """Return the form that probekit speaks by itself.

    Written out piece by piece: to build a dictionary for each of a hundred checks and walk through
    it again costs as much as running them.
    """
    text = f'{{"status": "{report.status.value}", "probe": "{report.probe.value}"'
    if details == "none":
        return text + "}"
    if report.message is not None and report.draining is None:
        text += f', "message": {encode(report.message)}'
    if report.probe is Probe.READINESS:
        text += f', "draining": {encode(drain_body(report.draining, details))}'
    now = report.at
    checks = ", ".join(
        [
            f"{encode(name)}: {check_json(result, now, details)}"
            for name, result in report.checks.items()
        ]
    )
    text += f', "checks": {{{checks}}}'
    if report.warnings:
        text += f', "warnings": {encode(report.warnings)}'
    return text + "}"


def check_json(result: CheckResult, now: float, details: Details) -> str:
    """Return one check's part; what has nothing to say is left out."""
    _, _, status, critical, message, detail, duration, at, since, failures, stale, blocked, _ = (
        result
    )
    text = _OPENINGS[status, critical]
    if details == "status":
        return text + "}"
    if message is not None:
        text += f', "message": {encode(message)}'
    if detail:
        text += f', "detail": {encode(detail)}'
    if duration is not None:
        age = now - at
        # To format a number costs as much as all the rest, and most ages are 0.0.
        text += f', "duration": {duration:.4f}, "age": {"0.0" if age < 0.05 else f"{age:.1f}"}'
    if since is not None:
        text += f', "since": "{moment(int(since))}"'
    if failures:
        text += f', "failures": {failures}'
    if stale:
        text += ', "stale": true'
    if message is not None and result.inconclusive:
        text += ', "inconclusive": true'
    if blocked:
        text += f', "blocked_loop": {blocked:.3f}'
    return text + "}"


def drain_body(drain: Drain | None, details: Details = "full") -> dict[str, Any] | bool | None:
    """Return a drain's part: the whole story, or only that there is one."""
    if drain is None:
        return None
    if details != "full":
        return True
    return {
        "reason": drain.reason,
        "by": drain.by,
        "since": moment(int(drain.since)),
        "until": None if drain.until is None else moment(int(drain.until)),
        "final": drain.final,
    }


@lru_cache(maxsize=4096)
def moment(seconds: int) -> str:
    """Return a moment as RFC 3339 in UTC; the same few are asked for again and again."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- application/health+json --------------------------------------------------------------------


def draft_body(report: Report, details: Details) -> dict[str, Any]:
    """Return the form of draft-inadarei-api-health-check-06."""
    body: dict[str, Any] = {"status": _DRAFT[report.status]}
    if details == "none":
        return body
    body["description"] = f"{report.probe.value} of this process"
    if report.message is not None:
        body["output"] = drain_text(report.draining, details) or report.message
    if report.warnings:
        body["notes"] = report.warnings
    body["checks"] = {
        name: [draft_check(result, report.at, details)] for name, result in report.checks.items()
    }
    return body


def draft_check(result: CheckResult, now: float, details: Details) -> dict[str, Any]:
    """Return one check's part of the draft's form."""
    passing = _DRAFT[result.status]
    status = "warn" if passing == "fail" and not result.critical else passing
    body: dict[str, Any] = {"status": status}
    if details == "status":
        return body
    if result.duration is not None:
        body |= {"observedValue": round(result.duration, 4), "observedUnit": "s"}
        body["age"] = round(now - result.at, 1)
    if result.since is not None:
        body["time"] = moment(int(result.since))
    if result.message is not None and status != "pass":  # the draft forbids it for "pass"
        body["output"] = result.message
    if result.detail:
        body["detail"] = result.detail
    return body


# -- text ---------------------------------------------------------------------------------------


def text_body(report: Report, details: Details, more: str = "") -> str:
    """Return the form of the kube-apiserver: a line a check, and a verdict."""
    lines: list[str] = []
    if details != "none":
        lines += [text_line(result, details) for result in report.checks.values()]
        if report.message is not None:
            sign = "[+]" if report.passing else "[-]"
            lines.append(f"{sign}{drain_text(report.draining, details) or report.message}")
        lines += [f"warn: {warning}" for warning in report.warnings]
    verdict = "passed" if report.passing else "failed"
    lines.append(f"{more}{_PATHS[report.probe]} check {verdict}")
    return "\n".join(lines)


def text_line(result: CheckResult, details: Details) -> str:
    """Return one check's line: ``[+]`` passes, ``[-]`` fails the probe, ``[!]`` does neither."""
    if result.status is Status.HEALTHY:
        return f"[+]{result.name} ok"
    fails = result.critical and not result.status.passing
    unimportant = "" if result.critical else " (not critical)"
    reason = "reason withheld" if details == "status" else result.message or "no reason given"
    word = "failed" if result.status is Status.UNHEALTHY else result.status.value
    return f"{'[-]' if fails else '[!]'}{result.name} {word}{unimportant}: {reason}"


def drain_text(drain: Drain | None, details: Details) -> str | None:
    """Return a drain in one line."""
    if drain is None:
        return None
    if details != "full":
        return "draining"
    since = f"since {moment(int(drain.since))}"
    until = f" until {moment(int(drain.until))}" if drain.until is not None else ""
    by = f" by {drain.by}" if drain.by else ""
    reason = f": {drain.reason}" if drain.reason else ""
    return f"draining{by} {since}{until}{reason}"
