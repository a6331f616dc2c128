"""A function that handles jobs, so that each call of it is a job in flight."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from probekit._core.functions import check_callable, drop_awaitable, location, routine, unwrap
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probekit._lifecycle.work import Work

    Begin: TypeAlias = Callable[[Any, str], Work[Any]]

__all__ = ["check_taker", "counted"]

POSITIONAL = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
}


class Place(NamedTuple):
    """Where a call has its job.

    Attributes:
        position: Which of the positional arguments it is; None: it comes by name only.
        name: The parameter's.
        default: What it is if the call leaves it out.
    """

    position: int | None
    name: str
    default: object

    def find(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the job of a call."""
        if self.position is not None and len(args) > self.position:
            return args[self.position]
        return kwargs.get(self.name, self.default)


def counted(function: Any, *, parameter: str | None, begin: Begin) -> Any:
    """Return a function that does the same, and of which each call is a job.

    Args:
        function: What handles a job.
        parameter: The one that is the job; None: the first, ``self`` and ``cls`` aside.
        begin: Makes the job, of what was passed and of what is shown of it.

    Raises:
        ConfigurationError: If it can be no handler.
    """
    what = f"worker {location(function)}"
    check_handler(function, what)
    place = find_place(function, parameter, what)
    inner = unwrap(function)
    title = getattr(inner, "__name__", type(inner).__name__)

    @wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with begin(place.find(args, kwargs), title):
            return await function(*args, **kwargs)

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with begin(place.find(args, kwargs), title):
            result = function(*args, **kwargs)
        if result is not None and drop_awaitable(result):  # None first: it is what most return
            # Its job would have ended before it is awaited.
            raise ConfigurationError(
                f"{what}: a plain def returns something to await, {type(result).__name__}, so that "
                f"its job would not be counted; put @probes.worker directly on the async def"
            )
        return result

    return awaited if inspect.iscoroutinefunction(routine(function)) else called


def check_handler(function: Any, what: str) -> None:
    """Refuse what is no function, or would have returned before its job is done."""
    if type(function) in {staticmethod, classmethod}:
        kind = type(function).__name__
        raise ConfigurationError(f"{what}: got a {kind}; put @{kind} above @probes.worker")
    if inspect.isclass(function) or not callable(function):
        raise ConfigurationError(f"{what}: expected a function that takes a job, got {function!r}")
    call = routine(function)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise ConfigurationError(
            f"{what}: a generator function returns before it has begun; use "
            f"`with probes.work(job):` inside"
        )


def find_place(function: Any, parameter: str | None, what: str) -> Place:
    """Return where a call of ``function`` has its job."""
    try:
        known = inspect.signature(function).parameters
    except ValueError:  # a builtin
        return Place(0, "", None)
    names = [
        name
        for index, (name, each) in enumerate(known.items())
        if each.kind is not each.VAR_KEYWORD and not (index == 0 and name in {"self", "cls"})
    ]
    wanted = parameter if parameter is not None else next(iter(names), None)
    if wanted is None or wanted not in names:
        raise ConfigurationError(
            f"{what}: it takes no job; it needs a first parameter that is one"
            if parameter is None
            else f"{what}: it has no parameter {parameter!r} that could be the job; there are "
            f"{', '.join(names) or 'none'}"
        )
    found = known[wanted]
    position = [*known].index(wanted) if found.kind in POSITIONAL else None
    return Place(position, wanted, None if found.default is found.empty else found.default)


def check_taker(function: Any) -> None:
    """Refuse a function that cannot be called with a job.

    Raises:
        ConfigurationError: If it is one.
    """
    what = f"on_abandon {location(function)}"
    check_callable(function, what=what, kind="on_abandon", takes="the job")
