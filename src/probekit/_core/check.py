"""A check as the application declared it, refused here if it cannot work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from probekit._core.functions import check_callable, location, routine, unwrap
from probekit._core.model import Probe
from probekit._core.seconds import is_seconds, refuse_count, refuse_seconds
from probekit.exceptions import ConfigurationError

__all__ = ["BOOL_REMEDY", "Check", "CheckFunction", "declare"]

Detail: TypeAlias = Mapping[str, Any] | None
CheckFunction: TypeAlias = Callable[[], Detail] | Callable[[], Awaitable[Detail]]

DEFAULT_TIMEOUT = 0.8
"""Below the kubelet's default of 1 s, so that the report arrives before it hangs up."""
DEFAULT_MAX_AGE = 1.0
DEFAULT_CANCEL_AFTER = 30.0


class Check(NamedTuple):
    """A check and its options; `Probes.readiness` and its siblings make them.

    All times are in seconds.

    Attributes:
        name: The name in answers, metrics and ``/readyz/<name>``.
        function: What is called: no argument, ``def`` or ``async def``.
        probe: The probe that it belongs to.
        timeout: How long an answer waits for it.
        max_age: How long a result is reused.
        interval: How often it runs in the background, or None to run on request.
        initial_delay: When the first background run comes; None: a random moment of the first
            interval, so that replicas started together do not knock together.
        stale_after: When an older result is no longer believed.
        critical: Whether its failure fails the probe.
        failure_threshold: Failures in a row before it turns unhealthy.
        success_threshold: Successes in a row before it turns healthy.
        on_error: ``"keep"`` lets the last good value stand while the check itself cannot run.
        cancel_after: When a run that is still going is given up for good.
        is_async: Whether ``function`` is awaited on the loop or called on a thread of its own.
    """

    name: str
    function: CheckFunction
    probe: Probe
    timeout: float
    max_age: float
    interval: float | None
    initial_delay: float | None
    stale_after: float
    critical: bool
    failure_threshold: int
    success_threshold: int
    on_error: Literal["fail", "keep"]
    cancel_after: float
    is_async: bool

    @property
    def where(self) -> str:
        """Where the check is defined, as ``module:line``, for messages to people."""
        return location(self.function)


def declare(
    function: CheckFunction,
    *,
    probe: Probe,
    name: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    max_age: float = DEFAULT_MAX_AGE,
    interval: float | None = None,
    initial_delay: float | None = None,
    stale_after: float | None = None,
    critical: bool = True,
    failure_threshold: int = 1,
    success_threshold: int = 1,
    on_error: Literal["fail", "keep"] = "fail",
    cancel_after: float | None = None,
    external: bool = False,
) -> Check:
    """Return the check that these options describe.

    Raises:
        ConfigurationError: If any of them cannot work; the text says which, and what to do.
    """
    name = check_name(function, name)
    is_async = check_function(function, name)
    what = f"check {name!r}"
    inner = unwrap(function)
    if probe is Probe.LIVENESS and getattr(inner, "external", False) and external is not True:
        raise ConfigurationError(
            f"check {name!r}: {type(inner).__name__} talks to something outside the process, so as "
            f"a liveness check it restarts the whole fleet when that is down; make it a readiness "
            f"check, or insist with external=True"
        )
    refuse_seconds(what, "timeout", timeout)
    refuse_impatience(inner, name, timeout)
    refuse_seconds(what, "max_age", max_age, least=0)
    if interval is not None:
        refuse_seconds(what, "interval", interval)
        if interval < timeout:
            raise ConfigurationError(
                f"check {name!r}: interval must not be shorter than timeout, got interval="
                f"{interval:g} and timeout={timeout:g}; raise the interval or lower the timeout"
            )
    elif initial_delay is not None:
        raise ConfigurationError(
            f"check {name!r}: initial_delay={initial_delay!r} has no meaning without interval; "
            f"give an interval, or leave it out"
        )
    if initial_delay is not None:
        refuse_seconds(what, "initial_delay", initial_delay, least=0)
    if stale_after is None:
        stale_after = 3 * (interval or max_age) + timeout
    elif interval is None and on_error != "keep":
        raise ConfigurationError(
            f"check {name!r}: stale_after={stale_after!r} has no meaning without interval or "
            f"on_error='keep'; add one of them, or leave it out"
        )
    refuse_seconds(what, "stale_after", stale_after)
    if interval is not None and stale_after < interval:
        raise ConfigurationError(
            f"check {name!r}: stale_after must not be shorter than interval, or every result is "
            f"stale before the next; got stale_after={stale_after:g} and interval={interval:g}"
        )
    if cancel_after is None:
        cancel_after = max(DEFAULT_CANCEL_AFTER, timeout)
    refuse_seconds(what, "cancel_after", cancel_after)
    if cancel_after < timeout:
        raise ConfigurationError(
            f"check {name!r}: cancel_after must not be shorter than timeout, got cancel_after="
            f"{cancel_after:g} and timeout={timeout:g}"
        )
    refuse_count(what, "failure_threshold", failure_threshold)
    refuse_count(what, "success_threshold", success_threshold)
    one_of(name, "critical", critical, (True, False))
    one_of(name, "on_error", on_error, ("fail", "keep"))
    return Check(
        name=name,
        function=function,
        probe=probe,
        timeout=float(timeout),
        max_age=float(max_age),
        interval=interval,
        initial_delay=initial_delay,
        stale_after=float(stale_after),
        critical=critical,
        failure_threshold=failure_threshold,
        success_threshold=success_threshold,
        on_error=on_error,
        cancel_after=float(cancel_after),
        is_async=is_async,
    )


def check_name(function: object, name: object) -> str:
    """Return the name to use, or refuse it."""
    if name is None:
        inner = unwrap(function)
        name = getattr(inner, "name", None) or getattr(inner, "__name__", type(inner).__name__)
        if name == "<lambda>":
            raise ConfigurationError(
                f"check {location(function)}: a lambda has no name of its own; give it one: "
                f"name=..."
            )
    if not isinstance(name, str):
        raise ConfigurationError(f"check {location(function)}: name must be a string, got {name!r}")
    if not name or name != name.strip() or "/" in name or not name.isprintable():
        raise ConfigurationError(
            f"check {name!r}: name must be printable text without a slash or space around it, "
            f"since it stands in /readyz/<name>"
        )
    if name in {".", ".."}:
        raise ConfigurationError(
            f"check {name!r}: name must not be '.' or '..', which no request for /readyz/<name> "
            f"would still hold when it arrives"
        )
    return name


def check_function(function: object, name: str) -> bool:
    """Return whether ``function`` is async; refuse what is no check."""
    is_async = check_callable(function, what=f"check {name!r}", kind="a check")
    annotations = getattr(routine(function), "__annotations__", {})
    if annotations.get("return") in {bool, "bool"}:
        raise ConfigurationError(f"check {name!r}: {location(function)} {BOOL_REMEDY}")
    return is_async


def refuse_impatience(check: object, name: str, timeout: float) -> None:
    """Refuse a timeout that comes before the last good value that ``check`` would answer with."""
    within = getattr(check, "answers_within", None)
    if is_seconds(within, zero=True) and within >= timeout:
        kind = type(check).__name__
        raise ConfigurationError(
            f"check {name!r}: {kind} waits {within:g} s for its source, and nobody waits for it "
            f"longer than timeout={timeout:g}: a slow source would be a timeout, though the last "
            f"good value is there; give {kind}(wait=...) less than that, or raise the timeout"
        )


BOOL_REMEDY = (
    "returns a bool, whose meaning nobody can read off; raise Unhealthy(...) instead of returning "
    "False, and return None, or a mapping to publish, when all is well"
)


def one_of(name: str, option: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse what is not among ``allowed``."""
    if not any(value is each or (isinstance(value, str) and value == each) for each in allowed):
        choices = " or ".join(repr(each) for each in allowed)
        raise ConfigurationError(f"check {name!r}: {option} must be {choices}, got {value!r}")
