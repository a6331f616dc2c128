"""What a probe's request asks for: the query and the Accept header."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

__all__ = ["HEALTH_JSON", "JSON", "TEXT", "Question", "accepted", "parse_query"]

JSON = "application/json"
HEALTH_JSON = "application/health+json"
TEXT = "text/plain"


class Question(NamedTuple):
    """The query of a probe request.

    Attributes:
        exclude: Names of checks to leave out.
        verbose: Whether text for a person is asked for.
    """

    exclude: tuple[str, ...] = ()
    verbose: bool = False


def parse_query(query: bytes) -> Question:
    """Return what ``?exclude=`` and ``?verbose`` ask for; anything else is ignored.

    Every byte string is a question: what is no UTF-8 becomes a name that no check has.
    """
    pairs = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
    return Question(
        exclude=tuple(dict.fromkeys(value for key, value in pairs if key == "exclude" and value)),
        verbose=any(key == "verbose" and value not in {"0", "false"} for key, value in pairs),
    )


def accepted(accept: str | None) -> str:
    """Return the media type of the answer: the one that ``Accept`` prefers, JSON in doubt."""
    best, best_quality = JSON, 0.0
    for part in (accept or "").split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media not in {JSON, HEALTH_JSON, TEXT, "text/*", "*/*", "application/*"}:
            continue
        quality = quality_of(parameters)
        if quality > best_quality:
            offered = {"text/*": TEXT, "*/*": JSON, "application/*": JSON}
            best, best_quality = offered.get(media, media), quality
    return best


def quality_of(parameters: list[str]) -> float:
    """Return the ``q`` of a media range, 1 where there is none that makes sense."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, float(value))
            except ValueError:
                return 1.0
    return 1.0
