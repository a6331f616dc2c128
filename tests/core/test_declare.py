"""Declaring a check: three uses of one method, and a clear refusal of what cannot work."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from probekit import Check, ConfigurationError, Probe, Probes
from probekit.checks.worker import Level

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


async def database() -> None:
    """Pass."""


def disk() -> None:
    """Pass."""


class Cache:
    """A ready-made check with a name of its own, of something outside the process."""

    name = "cache"
    external = True

    async def __call__(self) -> None:
        """Pass."""


class Nameless:
    """A callable object without a name."""

    def __call__(self) -> None:
        """Pass."""

    async def method(self) -> None:
        """Pass."""


def only_check(probes: Probes, probe: Probe = Probe.READINESS) -> Check:
    """Return the one check that was declared."""
    (check,) = probes.checks(probe)
    return check


def refused(text: str) -> Any:
    """Expect a refusal whose text contains ``text``."""
    return pytest.raises(ConfigurationError, match=re.escape(text))


# -- the three uses ---------------------------------------------------------------------------


@pytest.mark.parametrize("probe", list(Probe))
def test_a_bare_decorator_registers_and_returns_the_function(probe: Probe, probes: Probes) -> None:
    """`@probes.readiness` and its siblings give the very function back."""

    async def check() -> None:
        pass

    assert getattr(probes, probe.value)(check) is check
    assert only_check(probes, probe).function is check
    assert only_check(probes, probe).probe is probe


@pytest.mark.parametrize("probe", list(Probe))
def test_a_decorator_with_options_returns_the_function(probe: Probe, probes: Probes) -> None:
    """`@probes.readiness(timeout=2)` gives the very function back and applies the options."""

    def check() -> None:
        pass

    decorator = getattr(probes, probe.value)(timeout=2, critical=False)
    assert probes.checks(probe) == ()
    assert decorator(check) is check
    assert only_check(probes, probe).timeout == 2.0
    assert only_check(probes, probe).critical is False


def test_a_plain_call_takes_a_ready_made_check_and_a_name(probes: Probes) -> None:
    """`probes.readiness(RedisCheck(client), name="cache")` registers the object as it is."""
    check = Cache()
    assert probes.readiness(check, name="sessions") is check
    assert only_check(probes).name == "sessions"
    assert only_check(probes).is_async


def test_the_defaults_are_the_documented_ones(probes: Probes) -> None:
    """A check without options has the documented timeout, age, thresholds and patience."""
    probes.readiness(database)
    assert only_check(probes) == Check(
        name="database",
        function=database,
        probe=Probe.READINESS,
        timeout=0.8,
        max_age=1.0,
        interval=None,
        initial_delay=None,
        stale_after=3 * 1.0 + 0.8,
        critical=True,
        failure_threshold=1,
        success_threshold=1,
        on_error="fail",
        cancel_after=30.0,
        is_async=True,
    )


@pytest.mark.parametrize(
    ("options", "stale_after", "cancel_after"),
    [
        ({}, 3.8, 30.0),
        ({"interval": 10}, 30.8, 30.0),
        ({"interval": 10, "timeout": 2}, 32.0, 30.0),
        ({"max_age": 0}, 0.8, 30.0),
        ({"timeout": 60}, 63.0, 60.0),
        ({"interval": 5, "stale_after": 7, "cancel_after": 9}, 7.0, 9.0),
        ({"on_error": "keep", "stale_after": 7}, 7.0, 30.0),
    ],
)
def test_stale_after_and_cancel_after_follow_the_other_options(
    options: dict[str, Any], stale_after: float, cancel_after: float, probes: Probes
) -> None:
    """stale_after is three intervals (or ages) and a timeout, cancel_after never below timeout."""
    probes.readiness(database, **options)
    assert only_check(probes).stale_after == pytest.approx(stale_after)
    assert only_check(probes).cancel_after == cancel_after


def test_the_same_name_serves_each_probe_once(probes: Probes) -> None:
    """Names are unique within a probe, not between probes."""
    probes.liveness(disk)
    probes.readiness(disk)
    probes.startup(disk)
    assert [probes.checks(probe)[0].name for probe in Probe] == ["disk"] * 3


def test_checks_keep_the_order_of_their_registration(probes: Probes) -> None:
    """What an answer lists first was declared first."""
    for name in ("zebra", "ant", "mule"):
        probes.readiness(disk, name=name)
    assert [check.name for check in probes.checks(Probe.READINESS)] == ["zebra", "ant", "mule"]


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param(database, "database", id="function"),
        pytest.param(functools.partial(database), "database", id="partial"),
        pytest.param(functools.partial(functools.partial(disk)), "disk", id="partial of partial"),
        pytest.param(Cache(), "cache", id="object with a name"),
        pytest.param(Nameless(), "Nameless", id="object without one"),
        pytest.param(Nameless().method, "method", id="method"),
        pytest.param(
            functools.partial(Cache()),
            "cache",
            id="partial of an object with a name",
        ),
        pytest.param(
            functools.partial(Nameless()),
            "Nameless",
            id="partial of an object without one",
        ),
    ],
)
def test_a_check_is_named_after_what_it_calls(
    function: Callable[[], None], name: str, probes: Probes
) -> None:
    """The name is the function's, the object's own, or the class's."""
    probes.readiness(function)
    assert only_check(probes).name == name


@pytest.mark.parametrize("function", [lambda: None, functools.partial(lambda: None)])
def test_a_lambda_needs_a_name(function: Callable[[], None], probes: Probes) -> None:
    """`<lambda>` is no name for /readyz/<name>; with one it is welcome."""
    text = "(<lambda>): a lambda has no name of its own; give it one: name=..."
    with refused(text) as caught:
        probes.readiness(function)
    assert re.match(rf"check {__name__}:\d+ \(<lambda>\): ", str(caught.value))
    probes.readiness(function, name="one")
    assert only_check(probes).name == "one"


@pytest.mark.parametrize("name", ["", " ", "a/b", "/", " a", "a ", "a\n", "a\x00b", "\ud800"])
def test_a_name_that_fits_no_path_is_refused(name: str, probes: Probes) -> None:
    """Empty, slash-bearing and unprintable names are refused with the reason."""
    with refused(
        f"check {name!r}: name must be printable text without a slash or space around it, "
        f"since it stands in /readyz/<name>"
    ):
        probes.readiness(database, name=name)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_is_taken_for_a_step_in_a_path_is_refused(name: str, probes: Probes) -> None:
    """Clients and proxies resolve it, so that no request for /readyz/.. ever arrives."""
    with refused(f"check {name!r}: name must not be '.' or '..', which "):
        probes.readiness(database, name=name)


@pytest.mark.parametrize("name", [5, b"db", ["db"], True])
def test_a_name_that_is_no_string_is_refused(name: Any, probes: Probes) -> None:
    """Only a string names a check."""
    with refused(f"name must be a string, got {name!r}"):
        probes.readiness(database, name=name)


def test_an_objects_own_name_that_is_no_string_is_shown(probes: Probes) -> None:
    """The refusal of an object's own name shows that name."""

    class Odd(Nameless):
        name = 5

    with refused("name must be a string, got 5"):
        probes.readiness(Odd())


def test_a_duplicate_name_is_refused_with_both_places(probes: Probes) -> None:
    """The text says where the first and the second check of that name are defined."""

    def database() -> None:
        pass

    first, second = globals()["database"], database
    probes.readiness(first)
    with pytest.raises(ConfigurationError) as caught:
        probes.readiness(second)
    message = str(caught.value)
    assert message.startswith("check 'database': readiness has a check of that name already: ")
    assert f"test_declare:{first.__code__.co_firstlineno} (database)" in message
    assert f"test_declare:{second.__code__.co_firstlineno} (" in message
    assert message.endswith("give one of them another name=...")
    assert only_check(probes).function is first


def test_a_duplicate_object_is_located_by_its_class(probes: Probes) -> None:
    """Where an object has no line, its module and class have to do."""
    probes.readiness(Cache())
    with refused("test_declare (Cache) and now"):
        probes.readiness(functools.partial(database), name="cache")


# -- what is no check -------------------------------------------------------------------------


def one_argument(session: object) -> None:
    """Take an argument."""


async def keyword_only(*, session: object) -> None:
    """Take an argument by keyword."""


def generator() -> Iterator[None]:
    """Yield."""
    yield


async def async_generator() -> AsyncIterator[None]:
    """Yield."""
    yield


class GeneratorObject:
    """A callable object that yields."""

    def __call__(self) -> Iterator[None]:
        """Yield."""
        yield


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (one_argument, "(session: 'object') -> 'None'"),
        (keyword_only, "(*, session: 'object') -> 'None'"),
        (functools.partial(one_argument), "(session: 'object') -> 'None'"),
    ],
)
def test_a_check_with_an_argument_is_refused(function: Any, signature: str, probes: Probes) -> None:
    """The text shows the signature and names partial and closures."""
    with refused(
        f"takes arguments {signature}, but a check is called without; "
        f"bind them with functools.partial or a closure"
    ):
        probes.readiness(function)


def test_arguments_that_are_bound_or_optional_are_none(probes: Probes) -> None:
    """What can be called without an argument is a check."""

    def optional(session: object = None) -> None:
        pass

    probes.readiness(optional)
    probes.readiness(functools.partial(one_argument, object()))
    assert [check.name for check in probes.checks(Probe.READINESS)] == ["optional", "one_argument"]


@pytest.mark.parametrize(
    "function",
    [
        generator,
        async_generator,
        GeneratorObject(),
        functools.partial(generator),
        functools.partial(async_generator),
    ],
)
def test_a_generator_function_is_refused(function: Any, probes: Probes) -> None:
    """A generator would be made and never run."""
    with refused("is a generator function, which would never run; return instead of yield"):
        probes.readiness(function, name="rows")


def test_a_class_is_refused_in_favour_of_an_instance(probes: Probes) -> None:
    """The text says how an instance is passed."""
    check: Any = Nameless
    with refused("check 'Nameless': got the class Nameless; pass an instance: Nameless(...)"):
        probes.readiness(check)


@pytest.mark.parametrize("function", ["database", 0, object(), [database]])
def test_what_cannot_be_called_is_refused(function: Any, probes: Probes) -> None:
    """The text shows what was passed."""
    with refused(f"expected a function without arguments, got {function!r}"):
        probes.readiness(function, name="odd")


def test_a_coroutine_object_is_refused(probes: Probes) -> None:
    """`probes.readiness(database())` is caught: a coroutine cannot be called."""
    coroutine: Any = database()
    with refused("expected a function without arguments, got <coroutine object database"):
        probes.readiness(coroutine)
    coroutine.close()


def with_real_annotation() -> Any:
    """Return a function whose annotation is the class itself."""

    def check() -> None:
        pass

    check.__annotations__["return"] = bool
    return check


async def async_bool() -> bool:
    """Return what nobody can read."""
    return True


class BoolObject:
    """A callable object that says that it returns a bool."""

    def __call__(self) -> bool:
        """Return what nobody can read."""
        return True


@pytest.mark.parametrize(
    "function",
    [with_real_annotation(), async_bool, BoolObject(), functools.partial(async_bool)],
)
def test_a_check_that_says_it_returns_a_bool_is_refused(function: Any, probes: Probes) -> None:
    """The text says what to do instead."""
    with refused("raise Unhealthy(...) instead of returning False, and return None"):
        probes.readiness(function)


def test_a_builtin_without_a_signature_is_taken_at_its_word(probes: Probes) -> None:
    """What does not tell its arguments is accepted; calling it will tell."""

    class Builtin(Nameless):
        @property
        def __signature__(self) -> object:
            raise ValueError("no signature found")

    probes.readiness(Builtin(), name="builtin")
    assert only_check(probes).is_async is False


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (database, True),
        (disk, False),
        (functools.partial(database), True),
        (Cache(), True),
        (Nameless(), False),
        (Nameless().method, True),
        (functools.partial(Cache()), True),
    ],
)
def test_async_is_seen_through_partials_objects_and_methods(
    function: Any, is_async: bool, probes: Probes
) -> None:
    """Whatever wraps it, `async def` runs on the loop and `def` on a thread."""
    probes.readiness(function, name="one")
    assert only_check(probes).is_async is is_async


# -- options ----------------------------------------------------------------------------------

NO_TIMES = [-1, -0.001, "5", True, False, math.nan, -math.inf, [1], 1j]


@pytest.mark.parametrize("value", [0, 0.0, None, *NO_TIMES])
def test_a_timeout_that_is_no_positive_time_is_refused(value: Any, probes: Probes) -> None:
    """Zero, negative, strings, bools and NaN are shown back."""
    with refused(f"check 'database': timeout must be > 0 seconds, got {value!r}"):
        probes.readiness(database, timeout=value)
    assert probes.checks(Probe.READINESS) == ()


@pytest.mark.parametrize("value", [0, *NO_TIMES])
@pytest.mark.parametrize("option", ["interval", "stale_after", "cancel_after"])
def test_other_times_must_be_positive(option: str, value: Any, probes: Probes) -> None:
    """Every option in seconds is held to the same rule."""
    options: dict[str, Any] = {"on_error": "keep", option: value}
    with refused(f"check 'database': {option} must be > 0 seconds, got {value!r}"):
        probes.readiness(database, **options)


@pytest.mark.parametrize("value", NO_TIMES)
def test_max_age_and_initial_delay_may_be_zero_but_nothing_worse(
    value: Any, probes: Probes
) -> None:
    """Zero means never reuse and at once; all else that is no time is refused."""
    with refused(f"check 'database': max_age must be >= 0 seconds, got {value!r}"):
        probes.readiness(database, max_age=value)
    with refused(f"check 'database': initial_delay must be >= 0 seconds, got {value!r}"):
        probes.readiness(database, interval=5, initial_delay=value)
    probes.readiness(database, max_age=0, interval=5, initial_delay=0)
    assert only_check(probes).initial_delay == 0


@pytest.mark.parametrize("option", ["timeout", "max_age", "interval", "stale_after"])
@pytest.mark.parametrize("value", [1e9 + 1, math.inf, 10**400])
def test_a_time_that_no_clock_counts_to_is_refused(
    option: str, value: float, probes: Probes
) -> None:
    """The text names the bound, for infinity and for an integer too large for a float as well."""
    options: dict[str, Any] = {"on_error": "keep", option: value}
    with refused(f"check 'database': {option} must be at most 1e9 seconds, got {value!r}"):
        probes.readiness(database, **options)


def test_an_interval_shorter_than_the_timeout_is_refused(probes: Probes) -> None:
    """The text shows both numbers and both remedies."""
    with refused(
        "check 'database': interval must not be shorter than timeout, got interval=0.5 and "
        "timeout=0.8; raise the interval or lower the timeout"
    ):
        probes.readiness(database, interval=0.5)
    probes.readiness(database, interval=0.8)


def test_an_initial_delay_without_an_interval_is_refused(probes: Probes) -> None:
    """A check that runs on request has no first background run to delay."""
    with refused(
        "check 'database': initial_delay=3 has no meaning without interval; give an interval, or "
        "leave it out"
    ):
        probes.readiness(database, initial_delay=3)


def test_a_run_is_not_given_up_before_its_timeout(probes: Probes) -> None:
    """A cancel_after below the timeout is refused with both numbers."""
    with refused(
        "check 'database': cancel_after must not be shorter than timeout, got cancel_after=1 and "
        "timeout=2"
    ):
        probes.readiness(database, timeout=2, cancel_after=1)


def test_results_that_are_stale_before_the_next_run_are_refused(probes: Probes) -> None:
    """A stale_after below the interval would turn every healthy check unknown between runs."""
    with refused(
        "check 'database': stale_after must not be shorter than interval, or every result is stale "
        "before the next; got stale_after=5 and interval=10"
    ):
        probes.readiness(database, interval=10, stale_after=5)


def test_a_stale_after_that_nothing_looks_at_is_refused(probes: Probes) -> None:
    """Without background runs and kept values no result grows stale."""
    with refused(
        "check 'database': stale_after=5 has no meaning without interval or on_error='keep'; add "
        "one of them, or leave it out"
    ):
        probes.readiness(database, stale_after=5)


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, "2", True, False, None])
@pytest.mark.parametrize("option", ["failure_threshold", "success_threshold"])
def test_a_threshold_that_is_no_count_is_refused(option: str, value: Any, probes: Probes) -> None:
    """Zero, fractions, strings and bools count nothing."""
    options: dict[str, Any] = {option: value}
    with refused(f"check 'database': {option} must be a whole number >= 1, got {value!r}"):
        probes.readiness(database, **options)


@pytest.mark.parametrize("value", [1, 0, "yes", None, "True"])
def test_critical_is_true_or_false(value: Any, probes: Probes) -> None:
    """Nothing that merely looks like a bool will do."""
    with refused(f"check 'database': critical must be True or False, got {value!r}"):
        probes.readiness(database, critical=value)


@pytest.mark.parametrize("value", ["ignore", "KEEP", "", None, True, 1])
def test_on_error_is_fail_or_keep(value: Any, probes: Probes) -> None:
    """The text shows the two words."""
    with refused(f"check 'database': on_error must be 'fail' or 'keep', got {value!r}"):
        probes.readiness(database, on_error=value)


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("timeot", "did you mean 'timeout'?"),
        ("zzz", "there are cancel_after, critical, failure_threshold, initial_delay, interval, "),
    ],
)
def test_an_unknown_option_is_refused_before_it_decorates(
    option: str, remedy: str, probes: Probes
) -> None:
    """A misspelt option is never swallowed; the text offers the nearest."""
    options: dict[str, Any] = {option: 1}
    with refused(f"readiness check: there is no option {option!r}; {remedy}"):
        probes.readiness(**options)
    with refused(f"startup check: there is no option {option!r}; {remedy}"):
        probes.startup(database, **options)


def test_external_is_refused_where_it_has_no_meaning(probes: Probes) -> None:
    """The text says where it has one, and offers nothing that only looks alike."""
    options: dict[str, Any] = {"external": True}
    for declare in (probes.readiness, probes.startup):
        kind = declare.__name__
        with refused(f"{kind} check: external is an option of liveness checks alone; leave it out"):
            declare(**options)


# -- checks that know how long they wait -------------------------------------------------------


@pytest.mark.parametrize(("timeout", "wait"), [(0.3, 0.5), (0.8, 0.8), (0.8, 1)])
def test_a_timeout_that_comes_before_the_last_good_number_is_refused(
    timeout: float, wait: float, probes: Probes
) -> None:
    """A slow source would read as a timeout; the text has both values and what to change."""
    level = Level(lambda: 1, minimum=0, name="depth", wait=wait)
    with refused(
        f"check 'backlog': Level waits {wait:g} s for its source, and nobody waits for it longer "
        f"than timeout={timeout:g}: a slow source would be a timeout, though the last good value "
        "is there; give Level(wait=...) less than that, or raise the timeout"
    ):
        probes.readiness(level, name="backlog", timeout=timeout)
    assert probes.checks(Probe.READINESS) == ()


@pytest.mark.parametrize("wait", [0, 0.2])
def test_a_timeout_that_leaves_time_for_the_answer_is_taken(wait: float, probes: Probes) -> None:
    """The check answers before it, with whatever is known."""
    probes.readiness(Level(lambda: 1, minimum=0, name="depth", wait=wait), timeout=0.3)
    assert only_check(probes).timeout == 0.3


# -- liveness and the outside -----------------------------------------------------------------


@pytest.mark.parametrize("external", [None, False, 1, "yes"])
def test_liveness_refuses_a_check_of_the_outside(external: Any, probes: Probes) -> None:
    """Only `external=True`, in writing, makes a dependency restart the fleet."""
    options: dict[str, Any] = {} if external is None else {"external": external}
    with refused(
        "check 'cache': Cache talks to something outside the process, so as a liveness check it "
        "restarts the whole fleet when that is down; make it a readiness check, or insist with "
        "external=True"
    ):
        probes.liveness(Cache(), **options)
    assert probes.checks(Probe.LIVENESS) == ()


def test_liveness_takes_a_check_of_the_outside_on_insistence(probes: Probes) -> None:
    """`external=True` is enough."""
    probes.liveness(Cache(), external=True)
    assert only_check(probes, Probe.LIVENESS).name == "cache"


@pytest.mark.parametrize("probe", [Probe.READINESS, Probe.STARTUP])
def test_other_probes_may_look_outside(probe: Probe, probes: Probes) -> None:
    """That is what readiness and startup are for."""
    getattr(probes, probe.value)(Cache())
    assert only_check(probes, probe).name == "cache"


def test_a_partial_does_not_hide_the_outside(probes: Probes) -> None:
    """Wrapping a ready-made check does not smuggle it into liveness."""
    with refused("talks to something outside the process"):
        probes.liveness(functools.partial(Cache()), name="cache")
