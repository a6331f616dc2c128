"""A function of which each call is a job."""

from __future__ import annotations

import gc
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from probekit import ConfigurationError
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes


class Shop:
    """Handles jobs by methods, whose first argument is none."""

    def __init__(self, probes: Probes) -> None:
        self.sell = probes.worker(self.sell_now)

    def sell_now(self, order: int) -> str:
        """Sell."""
        return f"sold {order}"


def noted(probes: Probes) -> str:
    """Return what is in flight, without its age."""
    return str(probes.service.traffic).partition(" for ")[0]


def test_each_call_of_a_function_is_a_job() -> None:
    """Shown by the function's name and what identifies the job; the function stays what it is."""
    probes = make_probes()

    @probes.worker
    def send(invoice: int, *, fast: bool = False) -> tuple[str, bool]:
        """Send it."""
        return noted(probes), fast

    assert send(17, fast=True) == ("job send 17", True)
    assert send(invoice=18) == ("job send 18", False)
    assert (send.__name__, send.__doc__) == ("send", "Send it.")
    assert [*inspect.signature(send).parameters] == ["invoice", "fast"]
    assert probes.in_flight["jobs"] == 0
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'invoice'"):
        send()  # type: ignore[call-arg] # a call that fails anyhow
    assert probes.in_flight["jobs"] == 0


@pytest.mark.anyio
async def test_an_async_function_stays_one() -> None:
    """It is in flight while it is awaited, and not before."""
    probes = make_probes()

    @probes.worker(name="mail to")
    async def send(address: str) -> str:
        return noted(probes)

    assert inspect.iscoroutinefunction(send)
    coroutine = send("anna")
    assert probes.in_flight["jobs"] == 0
    assert await coroutine == "job mail to anna"
    assert probes.in_flight["jobs"] == 0


def test_the_job_of_a_method_is_what_follows_self() -> None:
    """Bound or in the class; of a class method and a static one likewise."""
    probes = make_probes()

    class Counter:
        @probes.worker
        def count(self, job: str) -> str:
            return noted(probes)

        @classmethod
        @probes.worker
        def total(cls, job: str) -> str:
            return noted(probes)

        @staticmethod
        @probes.worker
        def plain(job: str) -> str:
            return noted(probes)

    assert Counter().count("a") == "job count a"
    assert Counter().count(job="b") == "job count b"
    assert Counter.total("c") == "job total c"
    assert Counter.plain("d") == "job plain d"
    assert Shop(probes).sell(3) == "sold 3"


def test_the_job_may_be_any_parameter() -> None:
    """The queue decides what comes first; what is left out is its default."""
    probes = make_probes()

    @probes.worker(job="address")
    def send(context: dict[str, int], address: str = "nobody") -> str:
        return noted(probes)

    @probes.worker(job="id")
    def store(*rows: int, id: str) -> str:
        return noted(probes)

    @probes.worker
    def spread(*jobs: int, **options: int) -> str:
        return noted(probes)

    assert send({}, "anna") == "job send anna"
    assert send({}) == "job send nobody"
    assert send({}, address="ben") == "job send ben"
    assert store(1, 2, id="x") == "job store x"
    assert spread(5, 6) == "job spread 5"
    assert spread() == "job spread NoneType"


def test_whatever_can_be_called_with_a_job_will_do() -> None:
    """A partial, an object, a builtin without a signature; as a plain call, too."""
    probes = make_probes()

    def send(sender: str, address: str) -> str:
        return noted(probes)

    class Sender:
        def __call__(self, address: str) -> str:
            return noted(probes)

    assert probes.worker(partial(send, "me"))("anna") == "job send anna"
    assert probes.worker(Sender(), name="to")("anna") == "job to anna"
    assert probes.worker(getattr)(3, "real") == 3


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["coroutine", "Awaitable"])
async def test_a_plain_function_that_returns_something_to_await_is_refused(kind: str) -> None:
    """At its first call: the job would end before it has begun, and no drain would wait for it."""
    probes = make_probes()
    begun: list[str] = []

    class Awaitable:
        def __await__(self) -> Any:
            raise AssertionError

    async def send(address: str) -> None:
        begun.append(address)

    @probes.worker
    def logged(address: str) -> Any:
        return send(address) if kind == "coroutine" else Awaitable()

    complaint = (
        rf"^worker tests\.jobs\.test_worker:\d+ \(.*logged\): a plain def returns something to "
        rf"await, {kind}, .*; put @probes\.worker directly on the async def$"
    )
    with pytest.raises(ConfigurationError, match=complaint):
        logged("anna")
    gc.collect()  # a coroutine that was never awaited would warn here, which fails the test
    assert (begun, probes.in_flight["jobs"]) == ([], 0)


def test_its_jobs_are_given_back_like_all_others() -> None:
    """To what the decorator names."""
    probes = make_probes()
    back: list[object] = []

    @probes.worker(on_abandon=back.append)
    def handle(job: str) -> None:
        probes.service.jobs.abandon()
        while not probes.service.jobs.given_back():
            pass

    handle("a")
    assert back == ["a"]


def generator(job: int) -> Any:
    """Have returned before it has begun."""
    yield job


async def async_generator(job: int) -> Any:
    """Have returned before it has begun."""
    yield job


@pytest.mark.parametrize(
    ("function", "options", "complaint"),
    [
        (lambda: None, {}, "it takes no job; it needs a first parameter that is one"),
        (lambda self: self, {}, "it takes no job"),
        (lambda **options: options, {}, "it takes no job"),
        (lambda job: job, {"job": "x"}, "no parameter 'x' that could be the job; there are job"),
        (lambda **options: options, {"job": "options"}, "no parameter 'options'.*there are none"),
        (generator, {}, "a generator function returns before it has begun; use `with probes.work"),
        (async_generator, {}, "a generator function returns before it has begun"),
        (int, {}, "expected a function that takes a job, got <class 'int'>"),
        (3, {}, "expected a function that takes a job, got 3"),
        (staticmethod(len), {}, "got a staticmethod; put @staticmethod above @probes.worker"),
        (classmethod(type), {}, "got a classmethod; put @classmethod above"),
        (lambda job: job, {"on_abandon": int}, "got the class int; pass an instance"),
    ],
)
def test_what_can_be_no_worker_is_refused(
    function: Any, options: dict[str, Any], complaint: str
) -> None:
    """With what is wrong and what to do instead."""
    with pytest.raises(ConfigurationError, match=complaint):
        make_probes().worker(function, **options)


def take_two(job: object, queue: object) -> None:
    """Need another argument beside the job."""


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (
            lambda: None,
            r"arguments \(\), but on_abandon is called with one, the job; bind",
        ),
        (lambda job, queue: None, r"arguments \(job, queue\), but on_abandon is called with one"),
        (
            partial(cast("Any", take_two), 1, 2, 3),
            "takes fewer arguments than functools.partial",
        ),
        (generator, "is a generator function, which would never run; return instead"),
        (async_generator, "is a generator function, which would never run; return instead"),
        (Shop, r"got the class Shop; pass an instance: Shop\(\.\.\.\)"),
        (None, "expected a function that takes the job, got None"),
    ],
)
def test_what_cannot_take_a_job_is_refused(function: Any, complaint: str) -> None:
    """When it is declared, and not when the process leaves."""
    with pytest.raises(ConfigurationError, match=complaint):
        make_probes().on_abandon(function)


@pytest.mark.parametrize("function", [print, getattr, partial(getattr, object())])
def test_a_builtin_may_take_a_job(function: Callable[[object], object]) -> None:
    """Whether it can will show."""
    assert make_probes().on_abandon(function) is function


def test_on_abandon_is_declared_once() -> None:
    """Which of two takes a job would be chance; both are named."""
    probes = make_probes()

    @probes.on_abandon
    def first(job: object) -> None:
        pass

    with pytest.raises(ConfigurationError, match=r"declared already: .*first\) and now .*append"):
        probes.on_abandon([].append)
