"""Where nobody handles SIGTERM: what is in flight is done, and then the process dies as it would.

The programs that die are processes of their own; how they come to it is seen in this one, where the
deadly signal is held back.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import demo_app

import anyio
import pytest
import trio
import waitress

import probekit.wsgi
from probekit._lifecycle.below import DefaultBelow, find_below, is_caught
from probekit._lifecycle.ending import GRACE
from probekit.asgi import ProbeMiddleware
from tests.doors._apps import hello
from tests.waiting import wait_until
from tests.web._asking import ask, make_probes

from ._signals import Program, departing, end, held_back, say, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from probekit._web.asgi_types import Receive, Scope, Send

TERMINATED = -signal.SIGTERM


# -- programs -----------------------------------------------------------------------------------


def one_request(backend: str, delay: float, linger: float, busy: float) -> None:
    """Answer one request, which takes ``busy`` seconds, and then wait to be ended."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(busy)
        await hello(scope, receive, send)

    probes = make_probes(drain_delay=delay, linger=linger)
    app = ProbeMiddleware(slow, probes=probes)

    async def answer() -> None:
        await ask(app, "/slow")
        say("answered")

    async def main() -> None:
        try:
            async with probes.lifespan(), anyio.create_task_group() as tasks:
                tasks.start_soon(answer)
                await anyio.sleep(0.05)
                say(probes.sigterm)
                await anyio.sleep(60)
        finally:
            say("cleaned up")

    try:
        anyio.run(main, backend=backend)
    except* KeyboardInterrupt:  # trio and anyio wrap what goes through their groups
        say("interrupted")


def ignoring_sigint(backend: str, delay: float, linger: float, busy: float) -> None:
    """Do the same as a shell's background job does, which takes no Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_request(backend, delay, linger, busy)


def for_ever() -> None:
    """Do not end."""
    threading.Event().wait()


def a_while() -> None:
    """End by itself, but not before the main thread has."""
    threading.main_thread().join()
    time.sleep(GRACE / 4)
    say("ended")


def hold_up(how: str) -> None:
    """Start what lives on when the main thread has ended."""
    if how == "thread":
        threading.Thread(target=for_ever, name="stubborn").start()
    elif how == "executor":
        ThreadPoolExecutor(thread_name_prefix="stubborn").submit(for_ever)
    elif how == "a while":
        threading.Thread(target=a_while).start()
    elif how == "at exit":
        atexit.register(say, "at exit")
        atexit.register(time.sleep, 1.5 * GRACE)


def held_up(how: str, backend: str) -> None:
    """Answer one request beside that, and be ended."""
    hold_up(how)
    one_request(backend, 0.2, 10, 0.1)


def slow_to_clean_up() -> None:
    """Do the same, with an application that takes its time to end."""

    async def main() -> None:
        async with make_probes(drain_delay=0.2).lifespan():
            say("armed")
            try:
                await trio.sleep(60)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1.5 * GRACE)
                say("cleaned up")

    hold_up("thread")
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        say("interrupted")


def on_waitress(how: str) -> None:
    """Serve beside it until it is ended."""
    hold_up(how)
    probes = make_probes(drain_delay=0.3)
    server = waitress.create_server(
        probekit.wsgi.ProbeMiddleware(demo_app, probes=probes), listen="127.0.0.1:0"
    )
    probes.begin()
    say(probes.sigterm)
    server.run()
    say("cleaned up")


def words(program: Program) -> list[str]:
    """Return all that it says until its end."""
    return [*iter(program.said, "")]


def test_what_is_in_flight_is_done_first() -> None:
    """Longer than the delay, shorter than the linger; then the process dies of the signal."""
    with Program(one_request, "asyncio", 0.2, 10, 1.2) as program:
        assert program.said() == "armed"
        began = program.signal()
        assert words(program) == ["answered"]
        assert program.end() == TERMINATED
        assert 0.9 < time.monotonic() - began < 4
        log = program.log()
    assert "waits for nothing, so what is in flight is done first, within 10 s" in log
    assert "in flight: GET /slow for 0." in log


def test_what_takes_longer_than_the_linger_is_cut() -> None:
    """The orchestrator would kill the process before long."""
    with Program(one_request, "asyncio", 0.2, 0.5, 60) as program:
        assert program.said() == "armed"
        began = program.signal()
        assert words(program) == []
        assert program.end() == TERMINATED
        assert 0.7 <= time.monotonic() - began < 4


def test_with_nothing_in_flight_the_delay_is_all() -> None:
    """Nobody is waited for where nobody is."""
    with Program(one_request, "asyncio", 0.8, 60, 0) as program:
        assert program.said() == "answered"
        assert program.said() == "armed"
        began = program.signal()
        assert program.end() == TERMINATED
        assert 0.8 <= time.monotonic() - began < 3


@pytest.mark.parametrize("delay", [60, 0.1], ids=["draining", "lingering"])
def test_a_second_signal_ends_it_at_once(delay: float) -> None:
    """Whether it drains still, or waits for what is in flight already."""
    with Program(one_request, "asyncio", delay, 60, 60) as program:
        assert program.said() == "armed"
        program.signal()
        time.sleep(1.1)
        assert program.process.poll() is None
        second = program.signal()
        assert program.end() == TERMINATED
        assert time.monotonic() - second < 1
        assert words(program) == []


def test_sigint_ends_it_at_once() -> None:
    """Ctrl-C does what it always did, amid a drain, too."""
    with Program(one_request, "asyncio", 60, 60, 60) as program:
        assert program.said() == "armed"
        program.signal()
        time.sleep(0.1)
        second = program.signal(signal.SIGINT)
        assert words(program) == ["cleaned up", "interrupted"]
        assert program.end() == 0
        assert time.monotonic() - second < 2


def test_a_trio_program_ends_in_order() -> None:
    """The main task is interrupted, its cleanup runs, and what is in flight is done before."""
    with Program(one_request, "trio", 0.2, 10, 0.8) as program:
        assert program.said() == "armed"
        program.signal()
        assert words(program) == ["answered", "cleaned up", "interrupted"]
        assert program.end() == 0


def test_a_trio_program_that_takes_no_interrupt_dies_of_the_signal() -> None:
    """There is nobody to clean up for it then, as without the library."""
    with Program(ignoring_sigint, "trio", 0.2, 10, 0.5) as program:
        assert program.said() == "armed"
        program.signal()
        assert words(program) == ["answered"]
        assert program.end() == TERMINATED


def namespaces() -> tuple[str, ...]:
    """Return a command that makes what it runs process 1, or skip the test."""
    for more in ((), ("--user", "--map-root-user")):
        command = ("unshare", *more, "--pid", "--fork", "--kill-child", "--mount-proc")
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, check=False, timeout=10)
        except FileNotFoundError:
            break
        if tried.returncode == 0:
            return command
    pytest.skip("this system lets nobody make a PID namespace")


def only_child(parent: int) -> int:
    """Return the process that ``parent`` has started."""
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_process_1_ends_in_order_though_the_kernel_keeps_the_default_action_from_it(
    backend: str,
) -> None:
    """A container's only process would otherwise run until it is killed."""
    with Program(one_request, backend, 0.2, 10, 0.8, before=namespaces()) as program:
        assert program.said() == "armed"
        pid = only_child(program.process.pid)
        subprocess.run(["kill", "-TERM", str(pid)], check=True)
        assert words(program) == ["answered", "cleaned up", "interrupted"]
        assert program.end() == 0


HELD_UP = "the process is still held up by threads that are no daemons: stubborn"


def test_a_thread_that_never_ends_outlives_no_script() -> None:
    """Where nobody is interrupted, the default action ends all threads at once."""
    with Program(held_up, "thread", "asyncio") as program:
        assert program.said() == "armed"
        began = program.signal()
        assert words(program) == ["answered"]
        assert program.end() == TERMINATED
        assert time.monotonic() - began < GRACE
        assert HELD_UP not in program.log()


@pytest.mark.parametrize("how", ["thread", "executor"])
def test_a_thread_that_never_ends_outlives_waitress_for_a_moment_only(how: str) -> None:
    """Python would wait for it; and for those of executors before the main thread has ended."""
    with Program(on_waitress, how) as program:
        assert program.said() == "armed"
        began = program.signal()
        assert words(program) == ["cleaned up"]
        assert program.end() == TERMINATED
        assert GRACE <= time.monotonic() - began < GRACE + 4
        assert program.log().count(HELD_UP) == 1


def test_a_thread_that_ends_by_itself_is_waited_for() -> None:
    """The process leaves in order then, with the status that it gives itself."""
    with Program(on_waitress, "a while") as program:
        assert program.said() == "armed"
        program.signal()
        assert words(program) == ["cleaned up", "ended"]
        assert program.end() == 0


def test_what_is_done_at_exit_is_not_cut() -> None:
    """No thread is waited for any more, and the main thread is busy in its own way."""
    with Program(on_waitress, "at exit") as program:
        assert program.said() == "armed"
        program.signal()
        assert words(program) == ["cleaned up", "at exit"]
        assert program.end() == 0


def test_an_application_that_ends_slowly_is_not_cut() -> None:
    """How long that takes is its own affair; only then the threads' time runs."""
    with Program(slow_to_clean_up) as program:
        assert program.said() == "armed"
        began = program.signal()
        assert words(program) == ["cleaned up", "interrupted"]
        assert program.end() == TERMINATED
        assert time.monotonic() - began >= 2.5 * GRACE
        assert HELD_UP in program.log()


def test_a_thread_that_never_ends_does_not_outlive_process_1() -> None:
    """From which the kernel keeps even the signal that it sends itself."""
    with Program(held_up, "thread", "asyncio", before=namespaces()) as program:
        assert program.said() == "armed"
        subprocess.run(["kill", "-TERM", str(only_child(program.process.pid))], check=True)
        assert words(program) == ["answered", "cleaned up", "interrupted"]
        assert program.end() == 128 + signal.SIGTERM
        assert HELD_UP in program.log()


# -- in this process ----------------------------------------------------------------------------


@pytest.fixture
def default() -> Iterator[None]:
    """Leave SIGTERM to the default action."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def here() -> DefaultBelow:
    """Return the default action of this process."""
    below = find_below(lambda: True)
    assert isinstance(below, DefaultBelow)
    return below


@pytest.mark.usefixtures("default")
def test_without_a_signal_the_default_action_is_put_back() -> None:
    """Nothing is left of the application but its memory."""
    probes = started()
    assert probes.sigterm == "armed"
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    end(probes)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default")
def test_the_signal_is_raised_again_with_the_default_action() -> None:
    """So that whoever waits for the process sees what it died of."""
    with held_back():
        here().hand_over(signal.SIGTERM, sys._getframe())
        assert signal.SIGTERM in signal.sigpending()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("server", ["waitress.server", "werkzeug.serving"])
@pytest.mark.usefixtures("default")
def test_a_server_that_ends_in_order_on_ctrl_c_is_interrupted(server: str) -> None:
    """It has no handler for SIGTERM, but one for KeyboardInterrupt around its main loop."""
    module: dict[str, Any] = {"__name__": server}
    exec("def main_loop(wait): wait()", module)
    below = here()

    def wait() -> None:
        below.hand_over(signal.SIGTERM, sys._getframe())

    with held_back():
        with pytest.raises(KeyboardInterrupt):
            module["main_loop"](wait)
        assert signal.SIGTERM not in signal.sigpending()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default")
def test_the_main_task_of_trio_is_interrupted_from_whatever_code() -> None:
    """At its next checkpoint, and not amid trio's own."""
    below = here()
    reached: list[str] = []

    async def main() -> None:
        below.hand_over(signal.SIGTERM, sys._getframe())
        reached.append("goes on")
        await trio.sleep(5)
        reached.append("not this far")

    with held_back():
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
        assert signal.SIGTERM not in signal.sigpending()
    assert reached == ["goes on"]


@pytest.mark.usefixtures("default")
def test_a_handler_that_came_later_and_passes_the_signal_on_ends_the_process() -> None:
    """What stands below ours has no handler that it could call, but passing on means an end."""
    probes = started(0.05)
    ours: Any = signal.getsignal(signal.SIGTERM)
    heard: list[int] = []

    def above(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if state(probes) == [True]:  # what is sent again
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        ours(number, frame)

    signal.signal(signal.SIGTERM, above)
    sigterm()
    try:
        wait_until(lambda: signal.SIGTERM in signal.sigpending(), "it dies", patience=2)
        assert set(heard) == {signal.SIGTERM}
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end(probes)


@pytest.mark.usefixtures("default")
def test_an_application_that_ends_while_it_lingers_is_left_alone() -> None:
    """Its server was stopped in another way, so nobody need be killed any more."""
    probes = make_probes(drain_delay=0.05, linger=60)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(0.5)
        await hello(scope, receive, send)

    async def main() -> None:
        async with probes.lifespan():
            request = asyncio.create_task(ask(ProbeMiddleware(slow, probes=probes), "/slow"))
            await asyncio.sleep(0.01)
            sigterm()
            await asyncio.sleep(0.2)
        await request

    with held_back(), asyncio.Runner() as runner:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        runner.run(main())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(0.2)
        assert signal.SIGTERM not in signal.sigpending()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert state(probes) == [True]


@pytest.mark.usefixtures("default")
def test_the_thread_ends_with_an_application_that_ends_amid_a_drain() -> None:
    """It has nothing to time any more."""
    before = len(departing())
    probes = started(30)
    sigterm()
    time.sleep(0.1)
    end(probes)
    wait_until(lambda: len(departing()) <= before, "the thread has ended", patience=1)


def test_a_system_that_tells_nothing_of_its_handlers_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no such file but on Linux."""

    def missing(_self: Path, **_options: object) -> str:
        raise FileNotFoundError

    assert isinstance(is_caught(), bool)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", missing)
        assert is_caught() is False
