"""Children forked with the library's handler in place: they die of SIGTERM like any other.

A fork with threads is a process of its own here, since newer Pythons warn of it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle.relay import RELAY
from tests.web._asking import make_probes

from ._signals import Program, StandIn, end, held_back, say, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

DRAIN = 0.3


def server_and_probes() -> tuple[StandIn, Probes]:
    """Return a server with a handler and an application that has started."""
    server = StandIn()
    signal.signal(signal.SIGTERM, server.handle)
    return server, started(DRAIN)


def wait_for_the_end() -> None:
    """Be a child that does nothing.

    In short naps: Python sleeps on through a signal that comes a moment before it falls asleep.
    """
    while True:
        time.sleep(0.01)


def forked(main: Callable[[], None]) -> int:
    """Return a child that runs ``main`` and ends with 0."""
    child = os.fork()
    if not child:
        main()
        os._exit(0)
    return child


def status_of(child: int, *, number: signal.Signals | None = signal.SIGTERM) -> str:
    """Send a child the signal and say how it ended, as ``subprocess`` would, and how soon."""
    time.sleep(0.2)
    began = time.monotonic()
    if number is not None:
        os.kill(child, number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    soon = "at once" if time.monotonic() - began < DRAIN else "late"
    return f"child {status} {soon}"


def say_how_the_parent_is(server: StandIn, probes: Probes) -> None:
    """Say whether the drain, and how many signals to the server."""
    say(f"parent {state(probes)[0]} {len(server.signals)}")


def drain_to_the_end(server: StandIn, probes: Probes) -> None:
    """Go on to the end of the drain."""
    began = time.monotonic()
    server.arrived()
    say(f"server {len(server.signals)} {time.monotonic() - began < 2 * DRAIN}")
    end(probes)


def while_armed() -> None:
    """Fork, let the child be ended, and only then the parent."""
    server, probes = server_and_probes()
    say(status_of(forked(wait_for_the_end)))
    say_how_the_parent_is(server, probes)
    sigterm()
    say_how_the_parent_is(server, probes)
    drain_to_the_end(server, probes)


def while_draining() -> None:
    """Fork amid the drain, and let the child be ended."""
    server, probes = server_and_probes()
    sigterm()
    ready, writing = os.pipe()

    def child() -> None:
        os.write(writing, b"!")  # Python forgets what comes while it forks
        wait_for_the_end()

    number = forked(child)
    os.read(ready, 1)
    os.kill(number, signal.SIGTERM)
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])} at once")
    say_how_the_parent_is(server, probes)
    drain_to_the_end(server, probes)


def with_multiprocessing() -> None:
    """Let multiprocessing fork and end the child, as a pool does."""
    server, probes = server_and_probes()
    process = multiprocessing.get_context("fork").Process(target=wait_for_the_end)
    process.start()
    time.sleep(0.2)
    began = time.monotonic()
    process.terminate()
    process.join(10)
    say(f"child {process.exitcode} {'at once' if time.monotonic() - began < DRAIN else 'late'}")
    say_how_the_parent_is(server, probes)
    sigterm()
    say_how_the_parent_is(server, probes)
    drain_to_the_end(server, probes)


def with_a_loop() -> None:
    """Fork on a loop that owns the signal, whose pipe the child has, too."""

    async def main() -> None:
        got: list[bool] = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, got.append, True)
        probes = started(DRAIN)
        say(status_of(forked(wait_for_the_end)))
        await asyncio.sleep(0.1)
        say(f"parent {state(probes)[0]} {len(got)}")
        sigterm()
        say(f"parent {state(probes)[0]} {len(got)}")
        await asyncio.sleep(DRAIN + 0.2)
        say(f"server {len(got)} True")
        end(probes)

    asyncio.run(main())


@pytest.mark.parametrize("program", [while_armed, with_multiprocessing])
def test_a_child_dies_of_the_signal_and_the_parent_hears_nothing(
    program: Callable[[], None],
) -> None:
    """Afterwards the parent drains as ever."""
    with Program(program) as run:
        assert run.said() == "child -15 at once"
        assert run.said() == "parent False 0"
        assert run.said() == "parent True 0"
        assert run.said() == "server 1 True"
        assert run.end() == 0


def test_a_child_of_a_draining_parent_dies_of_the_signal() -> None:
    """The parent's drain goes on to its end."""
    with Program(while_draining) as run:
        assert run.said() == "child -15 at once"
        assert run.said() == "parent True 0"
        assert run.said() == "server 1 True"
        assert run.end() == 0


def pipe_of_its_own() -> bool:
    """Return whether asyncio takes its pipe from a forked child, as newer Pythons do."""
    return hasattr(asyncio.events, "on_fork")


@pytest.mark.skipif(not pipe_of_its_own(), reason="here a child's signals reach the parent's loop")
def test_a_child_of_a_loop_that_owns_the_signal_dies_of_it() -> None:
    """And nothing of it comes to the parent's loop."""
    with Program(with_a_loop) as run:
        assert run.said() == "child -15 at once"
        assert run.said() == "parent False 0"
        assert run.said() == "parent True 0"
        assert run.said() == "server 1 True"
        assert run.end() == 0


# -- a child that serves ------------------------------------------------------------------------


def armed_anew(how: str) -> None:
    """Fork, as a server with ``--preload`` does, and start the application again in the child."""
    parents, probes = server_and_probes()
    ready, writing = os.pipe()
    if how == "draining":
        sigterm()

    def child() -> None:
        server = StandIn()
        if how != "no server":
            signal.signal(signal.SIGTERM, server.handle)
        again = probes if how == "the same" else make_probes(drain_delay=DRAIN)
        again.service.sigterm.arm()
        os.write(writing, b"!")
        while not state(again)[0]:
            time.sleep(0.01)
        began = time.monotonic()
        if how == "no server":
            wait_for_the_end()
        server.arrived()
        took = time.monotonic() - began
        say(f"child {len(server.signals)} {DRAIN - 0.05 < took < DRAIN + 0.5}")
        end(again)

    number = forked(child)
    os.read(ready, 1)
    began = time.monotonic()
    os.kill(number, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    say(f"child ended {status} {time.monotonic() - began >= DRAIN}")
    if how != "draining":
        say_how_the_parent_is(parents, probes)
        sigterm()
    drain_to_the_end(parents, probes)


@pytest.mark.parametrize("how", ["the same", "another", "draining"])
def test_a_child_that_starts_the_application_again_drains(how: str) -> None:
    """By the same or another `Probes`, whatever its parent is about."""
    with Program(armed_anew, how) as run:
        assert run.said() == "child 1 True"
        assert run.said() == "child ended 0 True"
        if how != "draining":
            assert run.said() == "parent False 0"
        assert run.said() == "server 1 True"
        assert run.end() == 0


def test_a_child_that_starts_the_application_again_without_a_server_drains_and_dies() -> None:
    """What stood below in the parent is no part of the child."""
    with Program(armed_anew, "no server") as run:
        assert run.said() == "child ended -15 True"
        assert run.said() == "parent False 0"
        assert run.said() == "server 1 True"
        assert run.end() == 0


def lingering() -> None:
    """Start the application again in a child without a server, with a request in flight."""
    server_and_probes()
    ready, writing = os.pipe()

    def child() -> None:
        again = make_probes(drain_delay=0.1, linger=30)
        again.service.sigterm.arm()
        traffic = again.service.traffic
        traffic.requests["slow"] = {"method": "GET", "path": "/slow"}, traffic.clock()
        os.write(writing, b"!")
        time.sleep(1)
        say("answered")
        traffic.requests.clear()
        wait_for_the_end()

    number = forked(child)
    os.read(ready, 1)
    os.kill(number, signal.SIGTERM)
    say(f"child {os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])}")


def test_a_child_without_a_server_lingers() -> None:
    """Nobody waits for what is in flight there, though the parent's server would."""
    with Program(lingering) as run:
        assert run.said() == "answered"
        assert run.said() == "child -15"


# -- in this process ----------------------------------------------------------------------------


def test_a_handler_of_another_process_gives_way_to_the_default_action(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a fork leaves in a child."""
    with monkeypatch.context() as patch:
        parent = os.getpid() + 1
        patch.setattr(os, "getpid", lambda: parent)
        probes = started()
    with held_back():
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGTERM, None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.SIGTERM in signal.sigpending()
    assert (state(probes), server.signals) == ([False], [])
    signal.signal(signal.SIGTERM, server.handle)


def test_a_child_knows_nothing_of_the_parents_applications() -> None:
    """Neither who was armed, nor that the signal came."""
    probes = started(30)
    with held_back():
        assert RELAY.includes(probes.service.sigterm)
    end(probes)
    RELAY.forget()
    assert not RELAY.includes(probes.service.sigterm)
    assert not RELAY.is_covered()
    RELAY.do(lambda: pytest.fail("there is no thread that could do it"))
