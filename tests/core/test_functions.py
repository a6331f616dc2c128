"""The functions that an application hands over: what is taken, what is refused, how it is named."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import pytest

from probekit import ConfigurationError
from probekit._core.functions import check_callable, location, routine, unwrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def plain() -> None:
    """Do nothing."""


async def awaited() -> None:
    """Do nothing."""


def generator() -> Iterator[None]:
    """Look like a function."""
    yield


async def async_generator() -> AsyncIterator[None]:
    """Look like an async function."""
    yield


def takes(argument: int) -> None:
    """Need an argument."""


def may_take(argument: int = 1, *more: int, **options: int) -> None:
    """Need none."""


class Plain:
    """A callable object with methods of every kind."""

    def __call__(self) -> None:
        """Do nothing."""

    async def method(self) -> None:
        """Do nothing."""

    @classmethod
    async def of_the_class(cls) -> None:
        """Do nothing."""

    @staticmethod
    def static() -> None:
        """Do nothing."""


class Awaited:
    """A callable object whose call is awaited."""

    async def __call__(self) -> None:
        """Do nothing."""


class Yields:
    """A callable object that would never run."""

    def __call__(self) -> Iterator[None]:
        """Look like a function."""
        yield


def check(function: object) -> bool:
    """Return whether ``function`` is async, as the thing it is handed over as."""
    return check_callable(function, what="hook 'x'", kind="a hook")


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (plain, False),
        (awaited, True),
        (may_take, False),
        (lambda: None, False),
        (functools.partial(takes, 1), False),
        (functools.partial(functools.partial(awaited)), True),
        (Plain(), False),
        (Awaited(), True),
        (functools.partial(Awaited()), True),
        (Plain().method, True),
        (Plain.of_the_class, True),
        (Plain.static, False),
        ([].clear, False),
    ],
)
def test_async_is_seen_whatever_is_around_it(function: object, is_async: bool) -> None:
    """Partials, objects, methods and builtins are told by what really runs."""
    assert check(function) is is_async


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Plain, "got the class Plain; pass an instance: Plain(...)"),
        (None, "expected a function without arguments, got None"),
        (7, "expected a function without arguments, got 7"),
        (generator, "(generator) is a generator function, which would never run; return instead"),
        (async_generator, "(async_generator) is a generator function, which would never run"),
        (functools.partial(generator), "(generator) is a generator function"),
        (Yields(), "(Yields) is a generator function"),
        (takes, "(takes) takes arguments (argument: 'int') -> 'None', but a hook is called"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_would_fail_later_is_refused_now(function: object, message: str) -> None:
    """Each text begins with what it is about."""
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        check(function)
    assert str(caught.value).startswith("hook 'x': ")


def test_a_partial_with_too_many_arguments_is_refused() -> None:
    """It can never be called."""
    function: Any = takes
    with pytest.raises(ConfigurationError):
        check(functools.partial(function, 1, 2))


def test_a_coroutine_is_no_function() -> None:
    """A common slip: the call is left to probekit."""
    coroutine = awaited()
    with pytest.raises(
        ConfigurationError, match="expected a function without arguments, got <coro"
    ):
        check(coroutine)
    coroutine.close()


def test_a_builtin_without_a_signature_is_believed() -> None:
    """Calling it will tell."""

    class Builtin(Plain):
        @property
        def __signature__(self) -> object:
            raise ValueError("no signature found")

    assert check(Builtin()) is False


def test_what_runs_in_the_end() -> None:
    """Partials are taken off; of an object it is the call of its class."""
    inner = Plain()
    wrapped = functools.partial(functools.partial(inner))
    assert unwrap(wrapped) is inner
    assert routine(wrapped) is Plain.__call__
    assert routine(plain) is plain


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, rf"{__name__}:\d+ \(plain\)"),
        (functools.partial(plain), rf"{__name__}:\d+ \(plain\)"),
        (Plain().method, rf"{__name__}:\d+ \(Plain\.method\)"),
        (Plain(), rf"{__name__} \(Plain\)"),
        (Plain, rf"{__name__} \(Plain\)"),
        (len, r"builtins \(len\)"),
        ([].clear, r"\? \(list\.clear\)"),
        (5, r"\? \(int\)"),
        (None, r"\? \(NoneType\)"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_place_is_named_as_far_as_it_is_known(function: Any, expected: str) -> None:
    """Module and line of a function, the module of everything else."""
    assert re.fullmatch(expected, location(function))
