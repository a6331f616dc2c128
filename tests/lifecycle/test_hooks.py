"""What an application does when it leaves: `on_drain`."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from probekit import ConfigurationError, DrainIsFinalError, DrainStep
from probekit.asgi import ProbeMiddleware, probe_app
from tests.conftest import BACKENDS
from tests.doors._apps import LifespanRun, hello
from tests.waiting import until, wait_until
from tests.web._asking import ask, make_probes

from ._signals import StandIn, sigterm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from probekit import Probes

anyio_test = pytest.mark.anyio

LEVEL = {logging.ERROR, logging.WARNING}


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors that probekit has logged of hooks."""
    records = [record for record in caplog.records if record.levelno in LEVEL]
    return [record.getMessage() for record in records if "on_drain hook" in record.getMessage()]


def where(function: Callable[..., object]) -> str:
    """Return how messages name a function of this module."""
    line = function.__code__.co_firstlineno
    return f"{__name__}:{line} ({function.__qualname__})"


# -- where and when -----------------------------------------------------------------------------


@anyio_test
async def test_an_async_hook_runs_on_the_application_s_loop() -> None:
    """On its thread, in a task of its own, whichever thread begins the drain."""
    probes = make_probes()
    ran: list[tuple[int, str | None]] = []

    @probes.on_drain
    async def stop_consumers() -> None:
        await anyio.sleep(0.01)
        ran.append((threading.get_ident(), anyio.get_current_task().name))

    async with probes.lifespan():
        thread = threading.Thread(target=probes.drain)
        thread.start()
        thread.join(5)
        await until(lambda: bool(ran))
    assert ran == [(threading.get_ident(), "probekit:begun")]


@anyio_test
async def test_sync_hooks_run_each_on_a_thread_of_its_own() -> None:
    """They may block, and neither the loop nor the other hooks wait for them."""
    probes = make_probes()
    meeting = threading.Barrier(2, timeout=10)
    ran: list[threading.Thread] = []

    def meet() -> None:
        meeting.wait()
        ran.append(threading.current_thread())

    probes.on_drain(meet)
    probes.on_drain(functools.partial(meet))
    async with probes.lifespan():
        began = time.monotonic()
        probes.drain()
        assert time.monotonic() - began < 5
        await until(lambda: len(ran) == 2)
    assert len({*ran, threading.main_thread()}) == 3
    assert {(thread.name, thread.daemon) for thread in ran} == {("probekit:begun", True)}


@anyio_test
async def test_hooks_run_once_for_each_drain_by_hand() -> None:
    """POST begins one; a renewal is the same drain; after DELETE comes another."""
    probes = make_probes()
    app = probe_app(probes)
    ran: list[str] = []

    @probes.on_drain
    async def first() -> None:
        ran.append("async")

    @probes.on_drain
    def second() -> None:
        ran.append("sync")

    async with probes.lifespan():
        for times in (1, 2):
            for _ in range(3):
                assert (await ask(app, "/admin/drain", "POST")).status == 202
            await until(lambda: len(ran) >= 2 * times)  # noqa: B023 - awaited here
            await ask(app, "/admin/drain", "DELETE")
    assert sorted(ran) == ["async"] * 2 + ["sync"] * 2


@anyio_test
async def test_hooks_of_later_steps_follow_sigterm_only() -> None:
    """A drain by hand runs none of them."""
    probes = make_probes()
    ran: list[DrainStep] = []
    for step in [*DrainStep][1:]:
        probes.on_drain(functools.partial(ran.append, step), step=step)
    async with probes.lifespan():
        probes.drain()
        probes.undrain()
        await anyio.sleep(0.05)
    assert ran == []


@anyio_test
async def test_after_sigterm_hooks_run_while_the_signal_is_held_back(server: StandIn) -> None:
    """Those of the beginning at once, those of the hand-over with it; async and sync."""
    probes = make_probes(drain_delay=0.4)
    ran: list[tuple[str, int]] = []

    def note(name: str) -> None:
        ran.append((name, len(server.signals)))

    async def note_async(name: str) -> None:
        note(name)

    async def main() -> None:
        sigterm()
        await until(lambda: len(ran) >= 2)
        assert {seen for _, seen in ran} == {0}
        # An application that has ended by itself hands nothing over any more.
        await until(lambda: len(ran) >= 4 and bool(server.signals))

    for step in (DrainStep.BEGUN, DrainStep.HANDED_OVER):
        probes.on_drain(functools.partial(note, step.value), step=step)
        probes.on_drain(functools.partial(note_async, step.value), step=step)
    await LifespanRun(ProbeMiddleware(hello, probes=probes)).run(main)
    assert sorted(name for name, _ in ran) == ["begun"] * 2 + ["handed over"] * 2
    assert len(server.signals) == 1


@anyio_test
async def test_a_hook_that_is_declared_late_runs_at_once() -> None:
    """In a drain that has come to its step; one for a later step waits for that."""
    probes = make_probes()
    ran: list[str] = []
    async with probes.lifespan():
        probes.drain()

        @probes.on_drain
        async def late() -> None:
            ran.append("async")

        probes.on_drain(lambda: ran.append("sync"))
        probes.on_drain(lambda: ran.append("told"), step=DrainStep.TOLD)
        await until(lambda: len(ran) == 2)
        await anyio.sleep(0.05)
    assert sorted(ran) == ["async", "sync"]


# -- hooks that misbehave -----------------------------------------------------------------------

FAILURES = [
    RuntimeError("no"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseException(),
]


@anyio_test
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_a_hook_raises_is_logged_and_harms_nothing(
    kind: str, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback, its place and its step; the other hooks and the loop go on."""
    probes = make_probes()
    ran: list[str] = []

    def sync() -> None:
        raise failure

    async def awaited() -> None:
        await anyio.lowlevel.checkpoint()
        raise failure

    hook: Callable[[], Any] = sync if kind == "sync" else awaited
    probes.on_drain(hook)
    probes.on_drain(lambda: ran.append("the other"))
    async with probes.lifespan():
        probes.drain()
        await until(lambda: bool(ran and complaints(caplog)))
        assert probes.draining is not None
    expected = f"on_drain hook {where(hook)} (begun) failed; the drain goes on without it"
    assert complaints(caplog) == [expected]
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


@anyio_test
@pytest.mark.parametrize("anyio_backend", BACKENDS[:2], indirect=True)  # trio awaits no task
async def test_a_hook_that_awaits_what_it_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cancelled task raises that into whoever awaits it, though nobody cancels him."""
    probes = make_probes()

    @probes.on_drain
    async def stop_worker() -> None:
        worker = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.sleep(0)
        worker.cancel()
        await worker

    async with probes.lifespan():
        probes.drain()
        with anyio.move_on_after(0.3):
            await until(lambda: bool(complaints(caplog)))
    assert len(complaints(caplog)) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_async_hook_ends_with_the_loop(
    backend: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """It is cancelled like every other task, may clean up, and is no failure."""
    probes = make_probes()
    ran: list[str] = []

    @probes.on_drain
    async def long() -> None:
        ran.append("began")
        try:
            await anyio.sleep_forever()
        finally:
            ran.append("cleaned up")

    async def main() -> None:
        async with probes.lifespan():
            probes.drain()
            await until(lambda: bool(ran))

    anyio.run(main, backend=backend[0], backend_options=backend[1])
    assert ran == ["began", "cleaned up"]
    assert complaints(caplog) == []


@anyio_test
async def test_an_async_hook_that_hangs_is_cancelled_at_its_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may clean up; the log names it, and the loop goes on."""
    probes = make_probes()
    ran: list[str] = []

    @probes.on_drain(timeout=0.05)
    async def hung() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ran.append("cleaned up")

    async with probes.lifespan():
        probes.drain()
        await until(lambda: bool(ran))
    assert ran == ["cleaned up"]
    assert complaints(caplog) == [
        f"on_drain hook {where(hung)} (begun) took longer than its timeout of 0.05 s and is "
        f"cancelled; nobody waits for it"
    ]


@anyio_test
async def test_an_async_hook_that_ends_in_time_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged of it, nor later."""
    probes = make_probes()
    ran: list[str] = []

    @probes.on_drain(timeout=0.1)
    async def quick() -> None:
        ran.append("async")

    probes.on_drain(lambda: ran.append("sync"), timeout=0.1)
    async with probes.lifespan():
        probes.drain()
        await until(lambda: len(ran) == 2)
        await anyio.sleep(0.15)
    assert complaints(caplog) == []


@anyio_test
async def test_an_async_hook_that_refuses_to_be_cancelled_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever reads the log learns who overstays, while it does."""
    probes = make_probes()
    left: list[str] = []

    @probes.on_drain(timeout=0.05)
    async def stubborn() -> None:
        try:
            await anyio.sleep(5)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.3)
            left.append("in the end")

    async with probes.lifespan():
        probes.drain()
        with anyio.move_on_after(0.25):
            await until(lambda: bool(complaints(caplog)))
        named = complaints(caplog)
        await until(lambda: bool(left))
    assert len(named) == 1


def test_a_sync_hook_that_hangs_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be cancelled; the log says so, once, and it goes on."""
    probes = make_probes()
    go_on = threading.Event()
    ran: list[str] = []

    @probes.on_drain(timeout=0.05)
    def hung() -> None:
        go_on.wait(10)
        ran.append("to the end")

    probes.drain()
    wait_until(lambda: bool(complaints(caplog)), "the log names it")
    assert ran == []
    go_on.set()
    wait_until(lambda: bool(ran), "it ends")
    assert complaints(caplog) == [
        f"on_drain hook {where(hung)} (begun) took longer than its timeout of 0.05 s and goes on "
        f"by itself; nobody waits for it"
    ]


def test_no_thread_stays_behind() -> None:
    """Neither the hook's nor the one that watches its time."""
    probes = make_probes()
    before = set(threading.enumerate())
    ran: list[str] = []
    probes.on_drain(lambda: ran.append("hook"), timeout=60)
    probes.drain()
    wait_until(lambda: bool(ran) and before >= set(threading.enumerate()), "both have ended")


# -- where no thread can be started -------------------------------------------------------------


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[type[threading.Thread]]:
    """Let no thread of these kinds be started for a hook, as where there are too many."""
    kinds: list[type[threading.Thread]] = []
    start = threading.Thread.start

    def start_or_refuse(self: threading.Thread) -> None:
        hooks = self.name.startswith("probekit:begun") or isinstance(self, threading.Timer)
        if hooks and type(self) in kinds:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    return kinds


@anyio_test
async def test_a_hook_without_a_thread_is_named_and_the_others_run(
    refused: list[type[threading.Thread]], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever drains does not hear of it."""
    refused.append(threading.Thread)
    probes = make_probes()
    ran: list[str] = []

    @probes.on_drain
    def sync() -> None:
        raise AssertionError

    @probes.on_drain
    async def awaited() -> None:
        ran.append("async")

    async with probes.lifespan():
        probes.drain()
        await until(lambda: bool(ran))
    assert complaints(caplog) == [
        f"on_drain hook {where(sync)} (begun) did not run: no thread could be started: can't start "
        f"new thread"
    ]


def test_a_hook_without_a_thread_does_not_shorten_the_drain(
    refused: list[type[threading.Thread]], server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """The signal is held back for as long as ever."""
    refused.append(threading.Thread)
    probes = make_probes(drain_delay=0.5)
    probes.on_drain(lambda: None)
    probes.service.sigterm.arm()
    began = time.monotonic()
    sigterm()
    assert server.arrived(10) - began >= 0.5
    probes.service.sigterm.disarm()
    assert len(complaints(caplog)) == 1
    assert "failed to drain" not in caplog.text


def test_a_hook_whose_time_nobody_can_watch_runs(
    refused: list[type[threading.Thread]], caplog: pytest.LogCaptureFixture
) -> None:
    """It matters more than the warning that it takes too long."""
    refused.append(threading.Timer)
    probes = make_probes()
    ran: list[str] = []
    probes.on_drain(lambda: ran.append("hook"))
    probes.drain()
    wait_until(lambda: bool(ran), "it runs", patience=5)
    assert complaints(caplog) == []


@anyio_test
async def test_a_def_that_returns_a_coroutine_is_not_dropped_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lambda around an async function is a common mistake; it runs, or the log says why not."""
    probes = make_probes()
    ran: list[str] = []

    async def stop() -> None:
        ran.append("ran")

    probes.on_drain(lambda: stop())
    async with probes.lifespan():
        probes.drain()
        with anyio.move_on_after(0.2):
            await until(lambda: bool(ran or complaints(caplog)))
    assert ran or complaints(caplog)


# -- hooks that turn the switch -----------------------------------------------------------------


@anyio_test
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_hook_may_end_a_drain_by_hand(kind: str) -> None:
    """The application knows better; the next drain calls it again."""
    probes = make_probes()
    ran: list[str] = []

    def sync() -> None:
        probes.undrain()
        ran.append("undrained")

    async def awaited() -> None:
        sync()

    probes.on_drain(sync if kind == "sync" else awaited)
    async with probes.lifespan():
        for times in (1, 2):
            probes.drain()
            await until(lambda: len(ran) == times)  # noqa: B023 - awaited here
            assert probes.draining is None


@anyio_test
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_hook_cannot_end_what_sigterm_began(
    kind: str, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Its failure is logged, and the process leaves."""
    probes = make_probes(drain_delay=0.3)

    async def awaited() -> None:
        probes.undrain()

    probes.on_drain(probes.undrain if kind == "sync" else awaited)
    async with probes.lifespan():
        sigterm()
        await until(lambda: bool(complaints(caplog)))
        assert server.signals == []
        await until(lambda: bool(server.signals))
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[0] is DrainIsFinalError
    assert probes.draining is not None


@anyio_test
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_hook_that_drains_is_not_called_again_for_it(kind: str) -> None:
    """It renews the drain under way, with its own reason."""
    probes = make_probes()
    ran: list[str] = []

    def sync() -> None:
        ran.append("ran")
        probes.drain(reason="the hook")

    async def awaited() -> None:
        sync()

    probes.on_drain(sync if kind == "sync" else awaited)
    async with probes.lifespan():
        probes.drain(reason="the operator")
        await until(lambda: bool(ran))
        await until(lambda: probes.draining is not None and probes.draining.reason == "the hook")
        await anyio.sleep(0.05)
    assert ran == ["ran"]


# -- without a loop -----------------------------------------------------------------------------


def no_loop(probes: Probes) -> None:
    """Leave ``probes`` without any loop that it has seen."""


def ended_loop(probes: Probes) -> None:
    """Let a loop that ``probes`` has lived on end, without a word to it."""

    async def main() -> None:
        await probes.report()

    anyio.run(main)


def ended_trio(probes: Probes) -> None:
    """Do the same with trio."""

    async def main() -> None:
        await probes.report()

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("before", [no_loop, ended_loop, ended_trio])
def test_without_a_loop_an_async_hook_is_named_and_the_others_run(
    before: Callable[[Probes], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to do instead, and nothing fails."""
    probes = make_probes()
    ran: list[str] = []
    before(probes)

    @probes.on_drain
    async def stop_consumers() -> None:
        ran.append("async")

    probes.on_drain(lambda: ran.append("sync"))
    probes.drain()
    wait_until(lambda: bool(ran), "the other has run")
    assert ran == ["sync"]
    assert complaints(caplog) == [
        f"on_drain hook {where(stop_consumers)} did not run: it is async, and the application's "
        f"event loop is not known or has ended; make it a plain def"
    ]


# -- declaring ----------------------------------------------------------------------------------


def test_a_hook_is_declared_in_three_ways() -> None:
    """Bare, with options, as a call; each gives the function back as it was."""
    probes = make_probes()

    def hook() -> None:
        pass

    assert probes.on_drain(hook) is hook
    assert probes.on_drain()(hook) is hook
    assert probes.on_drain(step=DrainStep.DONE, timeout=30)(hook) is hook
    assert probes.on_drain(hook, step=DrainStep.TOLD, timeout=1) is hook
    declared = probes.service.steps._declared
    assert [(each.function, each.step, each.timeout) for each in declared] == [
        (hook, DrainStep.BEGUN, 5.0),
        (hook, DrainStep.BEGUN, 5.0),
        (hook, DrainStep.DONE, 30.0),
        (hook, DrainStep.TOLD, 1.0),
    ]


class Stopper:
    """A callable object."""

    def __call__(self) -> None:
        """Do nothing."""


def takes_one(argument: object) -> None:
    """Take what nobody gives."""


def yields() -> Iterator[None]:
    """Look like a function."""
    yield


async def yields_async() -> AsyncIterator[None]:
    """Look like an async function."""
    yield


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Stopper, "got the class Stopper; pass an instance: Stopper(...)"),
        (takes_one, "takes arguments (argument: 'object') -> 'None', but a hook is called without"),
        (yields, "is a generator function, which would never run; return instead of yield"),
        (yields_async, "is a generator function, which would never run; return instead of yield"),
        (5, "expected a function without arguments, got 5"),
        ("stop", "expected a function without arguments, got 'stop'"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value))[:20],
)
def test_what_cannot_be_called_is_refused(function: Any, message: str) -> None:
    """At declaration, and not when the process leaves."""
    probes = make_probes()
    with pytest.raises(ConfigurationError, match=f"^on_drain hook .*{re.escape(message)}"):
        probes.on_drain(function)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        probes.on_drain(step=DrainStep.DONE)(function)
    assert probes.service.steps._declared == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": "begun"}, "step must be one of DrainStep.BEGUN, DrainStep.TOLD, "),
        ({"step": 0}, "DrainStep.CLOSED, got 0"),
        ({"step": None}, "DrainStep.CLOSED, got None"),
        ({"timeout": 0}, "timeout must be > 0 seconds, got 0"),
        ({"timeout": -1}, "timeout must be > 0 seconds, got -1"),
        ({"timeout": "5"}, "timeout must be > 0 seconds, got '5'"),
        ({"timeout": True}, "timeout must be > 0 seconds, got True"),
        ({"timeout": None}, "timeout must be > 0 seconds, got None"),
        ({"timeout": float("nan")}, "timeout must be > 0 seconds, got nan"),
        ({"timeout": float("inf")}, "timeout must be at most 1e9 seconds, got inf"),
    ],
    ids=repr,
)
def test_a_senseless_option_is_refused(options: dict[str, Any], message: str) -> None:
    """With the place of the hook, the value and what is wanted."""
    probes = make_probes()

    def hook() -> None:
        pass

    with pytest.raises(ConfigurationError) as caught:
        probes.on_drain(hook, **options)
    assert str(caught.value).startswith(f"on_drain hook {where(hook)}: ")
    assert message in str(caught.value)
    assert probes.service.steps._declared == []


def test_an_async_hook_of_the_last_step_is_refused() -> None:
    """The loop ends with the lifespan, so it would never run; a plain one would."""
    probes = make_probes()

    async def closed() -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match=r"async hook cannot run at .*CLOSED"):
        probes.on_drain(closed, step=DrainStep.CLOSED)
    assert probes.service.steps._declared == []
    probes.on_drain(lambda: None, step=DrainStep.CLOSED)


def test_builtins_partials_and_objects_are_hooks() -> None:
    """Whatever can be called without arguments; their place is told as far as it is known."""
    probes = make_probes()
    ran: list[int] = []
    for hook in (ran.clear, functools.partial(ran.append, 1), Stopper()):
        probes.on_drain(hook)
    places = [each.where for each in probes.service.steps._declared]
    assert places == ["? (list.clear)", "? (list.append)", f"{__name__} (Stopper)"]
