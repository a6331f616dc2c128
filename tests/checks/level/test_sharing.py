"""`Level` on threads and loops: sync sources, several loops, loops that end, in real time."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import Probe, Probes
from probekit._core.loops import current_loop
from probekit._lifecycle.watchdog.describe import name_of
from probekit.checks.worker import Level
from probekit.exceptions import ConfigurationError, Unhealthy
from tests.waiting import wait_until

from ._fetches import AsyncSource, Gate, SyncSource, hang, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_time import FakeClock

KINDS = ["asyncio", "trio"]
LOOPS = 8


def ask(level: Level, kind: str = "asyncio") -> object:
    """Return the value that the check publishes, asked on a new loop."""
    return anyio.run(value_of, level, backend=kind)


def fetching(name: str) -> list[threading.Thread]:
    """Return the threads that fetch for a level of this name."""
    return [thread for thread in threading.enumerate() if thread.name == f"probekit:{name}"]


class TestSyncSources:
    @pytest.mark.parametrize("kind", KINDS)
    def test_they_run_beside_the_loop(self, clock: FakeClock, kind: str) -> None:
        """On a thread of their own, once a ``max_age``, and from whichever loop."""
        threads: list[threading.Thread] = []
        numbers = iter([1, 2])

        def fetch() -> int:
            threads.append(threading.current_thread())
            return next(numbers)

        level = Level(fetch, minimum=0, name="depth", clock=clock.monotonic)
        assert [ask(level, kind), ask(level, kind)] == [1, 1]
        clock.advance(60)
        assert ask(level, kind) == 2
        assert [thread.name for thread in threads] == ["probekit:depth"] * 2
        assert all(thread.daemon for thread in threads)

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_that_hangs_costs_one_thread(self, clock: FakeClock, kind: str) -> None:
        """The last good number stands meanwhile; what it brings in the end is used."""
        gate = Gate(9)
        source = SyncSource(7, gate)
        level = Level(source, minimum=0, wait=0.02, name="hung-depth", clock=clock.monotonic)
        wait_until(lambda: self.passes(level, kind), "the first number")
        clock.advance(60)
        for _ in range(5):
            detail = anyio.run(level, backend=kind)
            assert (detail["value"], detail["stale"]) == (7, True)
            assert len(fetching("hung-depth")) == 1
        gate.go_on.set()
        wait_until(lambda: level.snapshot()["value"] == 9, "the late number")
        assert source.calls == 2

    def passes(self, level: Level, kind: str) -> bool:
        """Return whether the check passes now."""
        try:
            anyio.run(level, backend=kind)
        except Unhealthy:
            return False
        return True

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_thread_is_an_outage_like_any_other(
        self,
        clock: FakeClock,
        kind: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The last good number stands, it is logged once, and asked again after ``retry_after``."""
        source = SyncSource(7, 8)
        options: dict[str, Any] = {"name": "threadless", "retry_after": 5, "wait": 15}
        level = Level(source, minimum=0, clock=clock.monotonic, **options)
        assert ask(level, kind) == 7
        clock.advance(60)
        start, refused = threading.Thread.start, list[str]()

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "probekit:threadless":
                refused.append(thread.name)
                raise RuntimeError("can't start new thread")
            start(thread)

        trouble = "the source cannot be asked: RuntimeError"
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for attempts in (1, 1, 2):
                detail = anyio.run(level, backend=kind)
                assert (detail["value"], detail["stale"]) == (7, True)
                assert (detail["trouble"], len(refused)) == (trouble, attempts)
                clock.advance(3)
        assert caplog.messages == [f"level 'threadless': {trouble}"]
        clock.advance(2)
        assert ask(level, kind) == 8

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError()])
    def test_they_may_raise_anything(self, error: BaseException) -> None:
        """It ends neither the thread with a trace nor the application."""
        level = Level(SyncSource(error), minimum=0)
        with pytest.raises(Unhealthy, match=f"cannot be asked: {type(error).__name__}$"):
            ask(level)

    def test_what_must_be_awaited_is_refused(self) -> None:
        """A lambda around an async client would fetch nothing; the text says what to do."""
        loop = asyncio.new_event_loop()
        for wrapped in (lambda: depth(), loop.create_future):
            level = Level(wrapped, minimum=0)
            with pytest.raises(Unhealthy, match=r"something to await.*make it `async def`"):
                ask(level)
        loop.close()

    def test_context_variables_come_along(self) -> None:
        """As they were where the check ran."""
        variable: ContextVar[int] = ContextVar("variable")
        variable.set(7)
        assert ask(Level(variable.get, minimum=0)) == 7


class TestSeveralLoops:
    @pytest.mark.parametrize("make", [SyncSource, AsyncSource])
    def test_loops_in_many_threads_share_one_fetch(self, make: Callable[..., Any]) -> None:
        """All have its number, whoever began it and wherever it runs."""
        gate = Gate(7)
        source = make(gate if make is SyncSource else partial(at_gate, gate))
        level = Level(source, minimum=0, wait=15)
        values: list[object] = []
        threads = [
            threading.Thread(target=lambda kind=kind: values.append(ask(level, kind)))
            for kind in KINDS * (LOOPS // 2)
        ]
        for thread in threads:
            thread.start()
        assert gate.entered.acquire(timeout=10)
        gate.go_on.set()
        for thread in threads:
            thread.join(10)
        assert values == [7] * LOOPS
        assert source.calls == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_fetch_bears_the_name_of_the_check_that_began_it(self, kind: str) -> None:
        """So the watchdog knows the check if it holds the loop; without one, that of the level."""
        names: list[str] = []

        async def fetch() -> int:
            names.append(name_of(current_loop().running_task()))
            return 7

        probes = Probes(observers=[])
        probes.readiness(Level(fetch, minimum=0, name="depth"), name="backlog")
        anyio.run(probes.report, backend=kind)
        assert ask(Level(fetch, minimum=0, name="depth"), kind) == 7
        (state,) = probes.service.engine.states[Probe.READINESS].values()
        assert names == [state.label, "probekit:depth"] == ["probekit:backlog", "probekit:depth"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_fetch_that_ends_with_its_loop_is_begun_anew(self, kind: str) -> None:
        """It is no failure of the source, so the next loop asks at once."""
        source = AsyncSource(hang, 7)
        level = Level(source, minimum=0, wait=0.02)
        with pytest.raises(Unhealthy, match="has not answered"):
            ask(level, kind)
        assert ask(level, kind) == 7
        assert source.calls == 2

    def test_a_loop_that_stands_still_for_good_is_given_up(self) -> None:
        """Its fetch may never end; should it, nobody listens any more."""
        gate = asyncio.Event()

        async def late() -> int:
            await gate.wait()
            return 9

        source = AsyncSource(late, 7)
        level = Level(source, minimum=0, wait=0.02)
        loop = asyncio.new_event_loop()
        with pytest.raises(Unhealthy, match="has not answered"):
            loop.run_until_complete(level())
        assert ask(level) == 7
        gate.set()
        pending = asyncio.all_tasks(loop)
        loop.run_until_complete(asyncio.wait(pending))
        loop.close()
        assert level.snapshot()["value"] == 7

    def test_a_loop_may_be_thrown_away_with_its_fetch(self) -> None:
        """Whoever closes a loop without ending its tasks leaves the level unharmed."""
        source = AsyncSource(hang, 7)
        level = Level(source, minimum=0, wait=0.02)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"
        with pytest.raises(Unhealthy, match="has not answered"):
            loop.run_until_complete(level())
        loop.close()
        assert ask(level) == 7
        del loop
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert level.snapshot()["value"] == 7

    def test_a_level_of_two_apps_is_fetched_once(self) -> None:
        """Each app may have its own loop and its own thread."""
        source = SyncSource(7)
        level = Level(source, minimum=0, name="depth")
        found: list[object] = []

        def serve() -> None:
            probes = Probes(observers=[])
            probes.readiness(level)
            found.append(asyncio.run(probes.report()).checks["depth"].detail["value"])

        threads = [threading.Thread(target=serve) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [7, 7]
        assert source.calls == 1


async def at_gate(gate: Gate) -> float:
    """Wait at the gate without holding up the loop."""
    gate.entered.release()
    deadline = time.monotonic() + 15
    while not gate.go_on.is_set() and time.monotonic() < deadline:
        await anyio.sleep(0.005)
    return gate.number


class Depth:
    """A callable object, async."""

    async def __call__(self) -> int:
        """Return a number."""
        return 7


async def depth(queue: str = "jobs") -> int:
    """Return a number."""
    return len(queue)


class TestDeclaring:
    @pytest.mark.parametrize(
        ("fetch", "name", "value"),
        [
            (depth, "depth", 4),
            (partial(depth, "mail-jobs"), "depth", 9),
            (partial(partial(len), "abc"), "len", 3),
            (lambda: 5, "level", 5),
            (Depth(), "level", 7),
            ({"a": 6}.copy().popitem, "popitem", None),
        ],
    )
    def test_any_function_without_arguments_will_do(
        self, fetch: Any, name: str, value: int | None
    ) -> None:
        """It gives the check its name, where it has one."""
        level = Level(fetch, minimum=0)
        assert level.name == name
        if value is not None:
            assert ask(level) == value

    def test_a_builtin_without_a_signature_will_do(self) -> None:
        """To call it will tell whether it takes arguments."""
        fetch: Any = partial(dict, a=1)
        with pytest.raises(Unhealthy, match="fetch returned a value of type dict"):
            ask(Level(fetch, minimum=0))

    @pytest.mark.parametrize(
        ("fetch", "complaint"),
        [
            (5, "fetch must be a function without arguments, got 5; pass the function"),
            (None, "fetch must be a function without arguments, got None; pass the function"),
            (Depth, r"got the class Depth; pass an instance: Depth\(\.\.\.\)"),
            (lambda queue: 5, r".* takes arguments \(queue\), but fetch is called without; bind"),
        ],
    )
    def test_anything_else_is_refused(self, fetch: Any, complaint: str) -> None:
        """At once, and not at the first probe."""
        with pytest.raises(ConfigurationError, match=f"^Level: {complaint}"):
            Level(fetch, minimum=0)

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({}, "without a bound every number is well; give minimum, maximum"),
            (
                {"minimum": 5, "maximum": 4},
                "no number is well that must be at least 5 and at most 4",
            ),
            ({"degrade_below": 5, "maximum": 4}, "no number is well that must be at least 5"),
            ({"minimum": float("nan")}, "minimum must be an int or a float, got nan; leave it out"),
            ({"maximum": "10"}, "maximum must be an int or a float, got '10'; leave it out"),
            ({"minimum": 5, "degrade_below": 5}, "degrade_below must be above minimum, or it"),
            ({"maximum": 5, "degrade_above": 6}, "degrade_above must be below maximum, or it"),
            ({"minimum": 0, "max_age": 0}, "max_age must be > 0 seconds, got 0"),
            ({"minimum": 0, "wait": -1}, "wait must be >= 0 seconds, got -1"),
            ({"minimum": 0, "retry_after": 0}, "retry_after must be > 0 seconds, got 0"),
            ({"minimum": 0, "stale_after": "x"}, "stale_after must be > 0 seconds, got 'x'"),
            ({"minimum": 0, "stale_after": 59}, "stale_after must not be shorter than max_age"),
            (
                {"minimum": 0, "on_error": "ignore"},
                "on_error must be 'keep' or 'fail', got 'ignore'",
            ),
            (
                {"minimum": 0, "on_error": "fail", "stale_after": 100},
                "stale_after=100 has no meaning with on_error='fail'",
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, Any], complaint: str) -> None:
        """At once, naming the option, the value and what would do."""
        with pytest.raises(ConfigurationError, match=f"^Level: {complaint}"):
            Level(lambda: 5, **options)
