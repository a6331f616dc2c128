"""What one run came to: the returned value or the exception, turned into what may be published."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import os
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from probekit._core.check import BOOL_REMEDY
from probekit._core.model import NO_DETAIL, Status
from probekit._core.text import printable
from probekit.exceptions import CheckFailure, Degraded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outcome", "failed", "inconclusive", "is_timeout", "returned"]

MESSAGE_LIMIT = 500
"""Characters of a published message. The kubelet reads 10 KiB of the whole body."""
DETAIL_LIMIT = 8192
"""Bytes of a published detail as JSON."""
CAUSES = 10
"""Exceptions behind an exception that are looked at."""


class Outcome(NamedTuple):
    """What one run came to.

    Attributes:
        status: Before any threshold.
        message: The sentence to publish, or None.
        detail: The values to publish.
        error: The exception, for the log only.
        could_run: False where the check itself could not be carried out, so that it says nothing
            about the thing it tests: ``on_error="keep"`` looks at this.
        conclusive: False where not even that is known, since the loop stood still meanwhile.
    """

    status: Status
    message: str | None = None
    detail: Mapping[str, Any] = NO_DETAIL
    error: BaseException | None = None
    could_run: bool = True
    conclusive: bool = True


HEALTHY = Outcome(Status.HEALTHY)


def returned(value: object) -> Outcome:
    """Return the outcome of a check that returned ``value``."""
    if value is None:
        return HEALTHY
    if isinstance(value, Mapping):
        return Outcome(Status.HEALTHY, None, publishable(cast("Mapping[object, object]", value)))
    if isinstance(value, bool):
        return refused(f"the check {BOOL_REMEDY}")
    close = getattr(value, "close", None)
    if hasattr(value, "__await__"):
        if callable(close):
            close()  # or the interpreter warns of a coroutine that was never awaited
        return refused(
            "the check returned something to await, but is no async function; make it `async def` "
            "and await there"
        )
    return refused(
        f"the check returned a value of type {type(value).__name__}; return None, or a mapping to "
        f"publish"
    )


def refused(message: str) -> Outcome:
    """Return the outcome of a check that is written wrong."""
    return Outcome(Status.UNHEALTHY, message, error=TypeError(message), could_run=False)


def inconclusive(outcome: Outcome, *, lost: float) -> Outcome:
    """Return what ``outcome``, a timeout, is worth if the loop stood still for ``lost`` seconds."""
    message = f"inconclusive: the event loop stood still for {lost:.1f} s while it ran"
    if (error := outcome.error) is not None:
        message += f" ({type(error).__name__})"
    return Outcome(Status.UNKNOWN, message, error=error, could_run=False, conclusive=False)


def is_timeout(error: BaseException) -> bool:
    """Whether ``error`` comes from a timeout of the check's own, or of its client's.

    When a loop goes on that stood still, the answer may be there, but the timer rings first.
    """
    for leaf in flatten(error):
        cause: BaseException | None = leaf
        for _ in range(CAUSES):
            # trio's own is no TimeoutError
            if isinstance(cause, TimeoutError) or type(cause).__name__ == "TooSlowError":
                return True
            cause = cause and (cause.__cause__ or cause.__context__)
    return False


def failed(error: BaseException) -> Outcome:
    """Return the outcome of a check that raised ``error``.

    The text of a `CheckFailure` was written to be published. Any other text may hold a password,
    so only the class is named.
    """
    leaves = list(flatten(error))
    if all(isinstance(leaf, CheckFailure) for leaf in leaves):
        try:
            return declared(error, cast("list[CheckFailure]", leaves))
        except Exception as fault:  # a subclass that the check's author wrote wrong
            error = fault
    message = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        message += f" ({', '.join(dict.fromkeys(type(leaf).__name__ for leaf in leaves))})"
    return Outcome(Status.UNHEALTHY, shorten(message), error=error, could_run=False)


def declared(error: BaseException, failures: list[CheckFailure]) -> Outcome:
    """Return the outcome that a check declared by raising ``failures``, one or a group of them."""
    degraded = all(isinstance(failure, Degraded) for failure in failures)
    detail: dict[object, object] = {}
    for failure in failures:
        detail.update(failure.detail or {})
    return Outcome(
        Status.DEGRADED if degraded else Status.UNHEALTHY,
        shorten("; ".join(text(failure.message) for failure in failures)) or None,
        publishable(detail) if detail else NO_DETAIL,
        error,
    )


def flatten(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of the groups in it, or the one exception itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from flatten(each)
    else:
        yield error


def text(value: object) -> str:
    """Return ``value`` as text, whatever its ``__str__`` does."""
    try:
        return value if isinstance(value, str) else str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def shorten(message: str) -> str:
    """Return ``message`` in one line of at most `MESSAGE_LIMIT` characters that can be shown."""
    message = " ".join(message.split())
    if len(message) > MESSAGE_LIMIT:
        message = message[: MESSAGE_LIMIT - 1] + "…"
    return printable(message)


def publishable(detail: Mapping[object, object]) -> Mapping[str, Any]:
    """Return ``detail`` with everything in it that JSON cannot express made readable.

    Done once per run, so that no answer can fail for what a check returned.
    """
    try:
        plain = cast("dict[str, Any]", to_json(detail))
        size = len(json.dumps(plain))
    except Exception:
        return {"error": f"the detail, a {type(detail).__name__}, cannot be published as JSON"}
    if size > DETAIL_LIMIT:
        return {"error": f"the detail of {size} bytes is too long; {DETAIL_LIMIT} are published"}
    return plain


def to_json(value: object) -> object:
    """Return the nearest thing to ``value`` that JSON knows."""
    match value:
        case enum.Enum():  # before str and int, which an enumeration may be, too
            return to_json(value.value)
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal() | uuid.UUID() | os.PathLike():
            return str(cast("object", value))
        case Mapping():
            pairs = cast("Mapping[object, object]", value).items()
            return {text(key): to_json(each) for key, each in pairs}
        case list() | tuple() | set() | frozenset():
            return [to_json(each) for each in cast("list[object]", value)]
        case _:
            # Its repr may show a password: the class name has to do.
            return f"<{type(value).__name__}>"
