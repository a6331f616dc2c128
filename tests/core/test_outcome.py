"""What a check returned or raised, turned into what may be published."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import pathlib
import re
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probekit import Degraded, Status, Unhealthy
from probekit._core.outcome import (
    DETAIL_LIMIT,
    MESSAGE_LIMIT,
    Outcome,
    failed,
    publishable,
    returned,
)

SECRET = "hunter2"  # a password that must not get out
BOOL_REMEDY = (
    "the check returns a bool, whose meaning nobody can read off; raise Unhealthy(...) instead of "
    "returning False, and return None, or a mapping to publish, when all is well"
)
AWAITABLE = (
    "the check returned something to await, but is no async function; make it `async def` and "
    "await there"
)


def published(outcome: Outcome) -> str:
    """Return all of it that anybody may read."""
    return json.dumps([outcome.status, outcome.message, dict(outcome.detail)])


# -- returned ---------------------------------------------------------------------------------


def test_none_is_healthy() -> None:
    """The usual check returns nothing."""
    assert returned(None) == Outcome(Status.HEALTHY)


@pytest.mark.parametrize(
    "value", [{"rows": 3}, {}, types.MappingProxyType({"rows": 3})], ids=["dict", "empty", "proxy"]
)
def test_a_mapping_is_healthy_and_published(value: Mapping[str, object]) -> None:
    """What a passing check returns is its detail."""
    assert returned(value) == Outcome(Status.HEALTHY, None, dict(value))


@pytest.mark.parametrize("value", [True, False])
def test_a_bool_is_refused_with_the_remedy(value: bool) -> None:
    """False is not taken for failure nor True for success: the check is written wrong."""
    outcome = returned(value)
    assert outcome.status is Status.UNHEALTHY
    assert outcome.message == BOOL_REMEDY
    assert isinstance(outcome.error, TypeError)
    assert not outcome.could_run


@pytest.mark.parametrize(
    ("value", "kind"),
    [("ok", "str"), (0, "int"), ([1], "list"), (object(), "object"), (b"", "bytes")],
)
def test_any_other_value_is_refused_by_its_type(value: object, kind: str) -> None:
    """The text names the type and not the value, which may be a secret."""
    outcome = returned(value)
    assert outcome.status is Status.UNHEALTHY
    assert outcome.message == (
        f"the check returned a value of type {kind}; return None, or a mapping to publish"
    )
    assert not outcome.could_run


def test_a_coroutine_is_refused_and_closed() -> None:
    """A `def` that forgot to await causes no warning of the interpreter's on top."""

    async def database() -> None:
        pass

    coroutine = database()
    outcome = returned(coroutine)
    assert outcome.message == AWAITABLE
    assert not outcome.could_run
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_an_awaitable_that_cannot_be_closed_is_refused_all_the_same() -> None:
    """Not every awaitable has a close()."""

    class Awaitable:
        def __await__(self) -> Iterator[None]:
            yield

    assert returned(Awaitable()).message == AWAITABLE


# -- raised -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unhealthy("no rows", detail={"rows": 0}), Status.UNHEALTHY),
        (Degraded("no rows", detail={"rows": 0}), Status.DEGRADED),
    ],
)
def test_what_the_author_wrote_to_be_read_is_published(error: Exception, status: Status) -> None:
    """The text and detail of Unhealthy and Degraded are for the operator."""
    assert failed(error) == Outcome(status, "no rows", {"rows": 0}, error)


@pytest.mark.parametrize("error", [Unhealthy(), Unhealthy("  \n"), Degraded(detail={})])
def test_a_failure_may_have_nothing_to_say(error: Exception) -> None:
    """No text is no message, and no detail none."""
    outcome = failed(error)
    assert outcome.message is None
    assert dict(outcome.detail) == {}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError(f"postgres://app:{SECRET}@db/app refused"),
        KeyError(SECRET),
        SystemExit(SECRET),
        KeyboardInterrupt(SECRET),
        BaseException(SECRET),
        StopIteration(SECRET),
        GeneratorExit(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_of_any_other_exception_only_the_class_is_published(error: BaseException) -> None:
    """A password in the text stays in the log."""
    outcome = failed(error)
    assert outcome.status is Status.UNHEALTHY
    assert outcome.message == type(error).__name__
    assert outcome.error is error
    assert not outcome.could_run
    assert SECRET not in published(outcome)


def test_a_cause_and_notes_are_not_published() -> None:
    """Neither __cause__ nor add_note() carries a secret out."""
    error = OSError("x")
    error.__cause__ = ValueError(SECRET)
    error.add_note(SECRET)
    assert published(failed(error)) == '["unhealthy", "OSError", {}]'


def test_a_group_of_failures_is_merged() -> None:
    """Several things that the author said are all published."""
    group = ExceptionGroup(
        "",
        [
            Unhealthy("no rows", detail={"rows": 0}),
            ExceptionGroup("", [Degraded("slow", detail={"ms": 900}), Unhealthy("")]),
        ],
    )
    outcome = failed(group)
    assert outcome.status is Status.UNHEALTHY
    assert outcome.message == "no rows; slow;"
    assert outcome.detail == {"rows": 0, "ms": 900}
    assert outcome.could_run


def test_a_group_that_only_degrades_degrades() -> None:
    """Nothing in it says that the thing does not work."""
    outcome = failed(ExceptionGroup("", [Degraded("slow"), Degraded("old")]))
    assert (outcome.status, outcome.message) == (Status.DEGRADED, "slow; old")


def test_a_mixed_group_is_named_by_its_classes() -> None:
    """Each class once; no text, since not all of it was written to be read."""
    group = BaseExceptionGroup(
        SECRET,
        [
            Unhealthy(SECRET),
            ValueError(SECRET),
            ExceptionGroup(SECRET, [ValueError(SECRET), OSError(SECRET)]),
            KeyboardInterrupt(),
        ],
    )
    outcome = failed(group)
    assert outcome.message == (
        "BaseExceptionGroup (Unhealthy, ValueError, OSError, KeyboardInterrupt)"
    )
    assert SECRET not in published(outcome)
    assert not outcome.could_run


class Unspeakable:
    """Something that cannot be shown."""

    def __str__(self) -> str:
        """Raise."""
        raise ValueError(SECRET)


class UnspeakableError(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        """Raise."""
        raise ValueError(SECRET)


def test_an_exception_whose_text_raises_is_named_by_its_class() -> None:
    """Nobody asks it for its text."""
    assert failed(UnspeakableError()).message == "UnspeakableError"


def test_a_message_that_cannot_be_shown_is_replaced() -> None:
    """Unhealthy may be given anything."""
    message: Any = Unspeakable()
    outcome = failed(Unhealthy(message, detail={"key": 1}))
    assert outcome.message == "<Unspeakable that cannot be shown>"
    assert outcome.detail == {"key": 1}


def test_a_message_that_is_no_string_is_shown_as_one() -> None:
    """A number is a message too."""
    message: Any = 404
    assert failed(Unhealthy(message)).message == "404"


def test_a_detail_that_is_no_mapping_is_left_out() -> None:
    """Unhealthy may be given anything; what is no mapping is no detail."""
    detail: Any = ["rows"]
    assert failed(Unhealthy("no rows", detail=detail)).detail == {}


@pytest.mark.parametrize("length", [MESSAGE_LIMIT, MESSAGE_LIMIT + 1, 10**6])
def test_a_long_message_is_cut(length: int) -> None:
    """One check must not fill the body that a kubelet reads."""
    message = failed(Unhealthy("x" * length)).message
    assert message is not None
    assert len(message) == MESSAGE_LIMIT
    assert message.endswith("…") is (length > MESSAGE_LIMIT)


def test_a_message_is_one_line() -> None:
    """A line break in a message would forge a line of the log and of the verbose answer."""
    assert failed(Unhealthy("first\r\n[+] all is well\n\n\tlast")).message == (
        "first [+] all is well last"
    )


@pytest.mark.parametrize(
    "mischief", ["\x1b", "\x00", "\x7f", "\u202e", "\ud800"], ids=lambda each: f"U+{ord(each):04X}"
)
def test_what_is_not_for_people_is_shown_as_a_question_mark(mischief: str) -> None:
    """It would steer the terminal of whoever reads the log, or could not be sent at all."""
    assert failed(Unhealthy(f"down{mischief}[31m")).message == "down?[31m"


class Forgetful(Unhealthy):
    """A child of Unhealthy that forgets to call its parent."""

    def __init__(self, code: int) -> None:
        self.code = code


class Lazy(Mapping[str, object]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> object:
        """Raise."""
        raise OSError(SECRET)

    def __iter__(self) -> Iterator[str]:
        """Raise."""
        raise OSError(SECRET)

    def __len__(self) -> int:
        """Pretend."""
        return 1


BROKEN = [
    pytest.param(Forgetful(5), id="forgets its parent"),
    pytest.param(Unhealthy("down", detail=Lazy()), id="detail that cannot be read"),
]


@pytest.mark.parametrize("error", BROKEN)
def test_a_failure_that_is_itself_broken_is_unhealthy(error: Unhealthy) -> None:
    """Whatever was raised, there is an outcome."""
    outcome = failed(error)
    assert outcome.status is Status.UNHEALTHY
    assert SECRET not in published(outcome)


# -- detail -----------------------------------------------------------------------------------


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    HIGH = 3


class Word(enum.StrEnum):
    """An enumeration of strings."""

    YES = "yes"


class Mixed(str, enum.Enum):  # noqa: UP042 - the older spelling of the same
    """An enumeration of strings, as it was written before StrEnum."""

    YES = "yes"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1, 1),
        (1.5, 1.5),
        ("text", "text"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (Mixed.YES, "yes"),
        (decimal.Decimal("1.10"), "1.10"),
        (datetime.datetime(2026, 11, 20, 10, tzinfo=datetime.UTC), "2026-11-20T10:00:00+00:00"),
        (datetime.date(2026, 11, 20), "2026-11-20"),
        (datetime.time(10, 30), "10:30:00"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (pathlib.PurePosixPath("/data"), "/data"),
        ({1}, [1]),
        (frozenset(), []),
        ((1, (2,)), [1, [2]]),
        (b"secret", "<bytes>"),
        (object(), "<object>"),
        (Unspeakable(), "<Unspeakable>"),
        (Colour, "<EnumType>"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ({"a": {"b": [math.nan]}}, {"a": {"b": ["nan"]}}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "int", None: "none", (1, 2): 3}, {"1": "int", "None": "none", "(1, 2)": 3}),
        ({Unspeakable(): 1}, {"<Unspeakable that cannot be shown>": 1}),
    ],
)
def test_what_json_does_not_know_is_made_readable(value: object, shown: object) -> None:
    """The nearest thing that JSON knows, or the class name, whose text cannot be a secret."""
    assert publishable({"value": value}) == {"value": shown}


def selfish() -> dict[str, object]:
    """Return a mapping that contains itself."""
    detail: dict[str, object] = {}
    detail["self"] = detail
    return detail


@pytest.mark.parametrize(
    ("detail", "kind"),
    [(selfish(), "dict"), (Lazy(), "Lazy"), ({"n": 10**5000}, "dict")],
    ids=["contains itself", "cannot be read", "number beyond all printing"],
)
def test_a_detail_that_cannot_be_published_says_so(detail: Any, kind: str) -> None:
    """The check's status stands; only its detail is replaced."""
    assert publishable(detail) == {"error": f"the detail, a {kind}, cannot be published as JSON"}


def test_a_detail_that_is_too_long_says_so() -> None:
    """The limit counts the bytes of the JSON."""
    text = "y" * (DETAIL_LIMIT - len('{"x": ""}'))
    fits: dict[object, object] = {"x": text}
    assert publishable(fits) == fits
    assert publishable({"x": text + "y"}) == {
        "error": f"the detail of {DETAIL_LIMIT + 1} bytes is too long; {DETAIL_LIMIT} are published"
    }


def test_a_detail_is_copied() -> None:
    """What the check changes afterwards changes no answer."""
    rows = [1]
    detail = publishable({"rows": rows})
    rows.append(2)
    assert detail == {"rows": [1]}


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from([Colour.RED, Level.HIGH, Word.YES, Mixed.YES, Unspeakable(), object()])
)
KEYS = st.text() | st.integers() | st.none() | st.floats() | st.binary() | st.tuples(st.booleans())
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner)
        | st.tuples(inner, inner)
        | st.frozensets(LEAVES.filter(lambda leaf: not isinstance(leaf, Unspeakable)))
    ),
    max_leaves=20,
)


@given(detail=st.dictionaries(KEYS, ANYTHING))
def test_whatever_a_check_returns_the_answer_is_json(detail: dict[object, object]) -> None:
    """No value can break the body, nor put in it a NaN that no parser reads."""
    body = json.dumps(publishable(detail), allow_nan=False).encode()
    assert isinstance(json.loads(body), dict)


@given(message=st.text())
def test_whatever_a_check_says_the_message_is_one_line_of_text(message: str) -> None:
    """No text can forge another line or grow beyond the limit."""
    shown = failed(Unhealthy(message)).message
    assert shown is None or (len(shown) <= MESSAGE_LIMIT and shown.isprintable())
    assert bool(shown) is bool(re.search(r"\S", message))
