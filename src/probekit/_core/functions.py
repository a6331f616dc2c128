"""The functions that an application hands over, ``def`` or ``async``, and what they return."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from probekit.exceptions import ConfigurationError

__all__ = ["check_callable", "drop_awaitable", "location", "routine", "unwrap"]


def check_callable(function: object, *, what: str, kind: str, takes: str | None = None) -> bool:
    """Return whether ``function`` is async; refuse what cannot be called as it will be.

    Args:
        function: What the application handed over.
        what: How a message names it.
        kind: What it is meant to be, with its article.
        takes: The one argument that it gets, with its article; None: it gets none.

    Raises:
        ConfigurationError: If it is no such function.
    """
    if inspect.isclass(function):
        remedy = f"pass an instance: {function.__name__}(...)"
        raise ConfigurationError(f"{what}: got the class {function.__name__}; {remedy}")
    if not callable(function):
        wanted = "without arguments" if takes is None else f"that takes {takes}"
        raise ConfigurationError(f"{what}: expected a function {wanted}, got {function!r}")
    call = routine(function)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise ConfigurationError(
            f"{what}: {location(function)} is a generator function, which would never run; "
            f"return instead of yield"
        )
    try:
        inspect.signature(function).bind(*(() if takes is None else (None,)))
    except TypeError:
        given = "without; bind them" if takes is None else f"with one, {takes}; bind the others"
        raise ConfigurationError(
            f"{what}: {location(function)} takes arguments {inspect.signature(function)}, "
            f"but {kind} is called {given} with functools.partial or a closure"
        ) from None
    except ValueError:
        # A builtin has no signature, so calling it will tell; a partial of what has one is wrong.
        if has_signature(unwrap(function)):
            raise ConfigurationError(
                f"{what}: {location(function)} takes fewer arguments than functools.partial binds"
            ) from None
    return inspect.iscoroutinefunction(call)


def drop_awaitable(value: object) -> bool:
    """Whether ``value``, which a plain function returned, is something that ought to be awaited.

    Nobody will: a coroutine is closed, or the interpreter warns that it was never awaited.
    """
    if inspect.iscoroutine(value):
        value.close()
    return inspect.isawaitable(value)


def has_signature(function: Any) -> bool:
    """Whether it can be known which arguments ``function`` takes."""
    try:
        inspect.signature(function)
    except ValueError:
        return False
    return True


def unwrap(function: object) -> object:
    """Return what a `functools.partial` calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def routine(function: object) -> Any:
    """Return what really runs: the function, or the ``__call__`` of an object's class."""
    inner = unwrap(function)
    return inner if inspect.isroutine(inner) else type(inner).__call__


def location(function: object) -> str:
    """Return ``module:line`` of a function, or of the class of a callable object."""
    inner = unwrap(function)
    code = getattr(inner, "__code__", None)
    module = getattr(inner, "__module__", None) or "?"
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{module}:{code.co_firstlineno} ({name})" if code else f"{module} ({name})"
