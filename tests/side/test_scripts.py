"""Scripts that serve their probes, as whole processes, and what SIGTERM does to them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time

import pytest
import trio

from probekit import DrainStep, Probes
from tests.lifecycle._signals import Program, say
from tests.waiting import PATIENCE, wait_until

from ._asking import ask

LOCAL = "127.0.0.1"


def sync_script(delay: float) -> None:
    """Work until it drains."""
    probes = Probes(drain_delay=delay, observers=[])
    with probes.serve(host=LOCAL, port=0) as serving:
        say(str(serving.port))
        while not probes.draining:
            time.sleep(0.02)
        say("draining")
    say("left")


def asyncio_script(delay: float) -> None:
    """Do the same on asyncio."""
    probes = Probes(drain_delay=delay, observers=[])

    async def main() -> None:
        async with probes.serve(host=LOCAL, port=0) as serving:
            say(str(serving.port))
            while not probes.draining:
                await asyncio.sleep(0.02)
            say("draining")
        say("left")

    asyncio.run(main())


def telling_script(delay: float) -> None:
    """Leave the block when the delay is over, and log it."""
    logging.basicConfig(level=logging.INFO)
    probes = Probes(drain_delay=delay)
    with probes.serve(host=LOCAL, port=0) as serving:
        say(str(serving.port))
        asyncio.run(probes.wait_for(DrainStep.HANDED_OVER))
        say("draining")


def telling_start(delay: float) -> None:
    """Have no block, and log it."""
    logging.basicConfig(level=logging.INFO)
    started_script(delay)


def trio_script(delay: float) -> None:
    """Do the same on trio."""
    probes = Probes(drain_delay=delay, observers=[])

    async def main() -> None:
        async with probes.serve(host=LOCAL, port=0) as serving:
            say(str(serving.port))
            while not probes.draining:
                await trio.sleep(0.02)
            say("draining")
        say("left")

    trio.run(main)


def deaf_script(linger: float) -> None:
    """Work on, whatever comes."""
    probes = Probes(drain_delay=0, linger=linger, observers=[])
    with probes.serve(host=LOCAL, port=0) as serving:
        say(str(serving.port))
        time.sleep(60)


def started_script(delay: float) -> None:
    """Have no block that could be left."""
    probes = Probes(drain_delay=delay, observers=[])
    serving = probes.start(host=LOCAL, port=0)
    say(str(serving.port))
    time.sleep(60)


def ending_script() -> None:
    """End without having been told to; nothing holds the process back."""
    probes = Probes(drain_delay=1, observers=[])
    serving = probes.start(host=LOCAL, port=0)
    say(str(serving.port))


def thread_script(delay: float) -> None:
    """Serve from a thread, which cannot take the signal over without the main thread's help."""
    probes = Probes(drain_delay=delay)

    def work() -> None:
        with probes.serve(host=LOCAL, port=0):
            say(probes.sigterm)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def broken_script() -> None:
    """Fail in the block."""
    with Probes(drain_delay=0, observers=[]).serve(host=LOCAL, port=0) as serving:
        say(str(serving.port))
        raise ValueError("as it happens")


@pytest.mark.parametrize("delay", [0.0, 1.0])
@pytest.mark.parametrize("script", [sync_script, asyncio_script, trio_script])
def test_a_script_leaves_its_block_and_exits_in_order(script: object, delay: float) -> None:
    """SIGTERM ends the loop, the block is left, and the status is 0."""
    with Program(script, delay) as program:  # type: ignore[arg-type] # one of these functions
        port = int(program.said())
        assert ask(port, "/readyz").status == 200
        program.signal()
        assert program.said() == "draining"
        assert program.said() == "left"
        assert program.end() == 0, program.log()


def test_the_log_of_a_script_speaks_of_no_server() -> None:
    """Nobody gets the signal there: it ends the process, unless the block is left before."""
    with Program(telling_script, 0.5) as program:
        assert program.said()
        program.signal()
        assert program.said() == "draining"
        assert program.end() == 0
        log = program.log()
    assert (
        "on SIGTERM: drain for 0.5 s (argument drain_delay), then it ends the process; the" in log
    )
    assert "goes on as before until the signal ends the process; the plan: drain for 0.5 s" in log
    assert "drain: closed: the block has been left" in log
    with Program(telling_start, 0.2) as program:
        assert program.said()
        program.signal()
        assert program.end() == -signal.SIGTERM
        assert "SIGTERM: letting the signal end the process after 0." in program.log()


def test_a_script_that_does_not_listen_is_ended_after_a_while() -> None:
    """It is not ready any more, and alive, until the signal ends it."""
    linger = 1.5
    with Program(deaf_script, linger) as program:
        port = int(program.said())
        began = program.signal()
        wait_until(lambda: ask(port, "/readyz").status == 503, "it drains")
        assert ask(port, "/healthz").status == 200
        assert program.end() == -signal.SIGTERM
        assert time.monotonic() - began >= linger


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_without_a_block_the_signal_ends_the_process_after_the_delay(delay: float) -> None:
    """It drains for so long, and not at all without a delay."""
    with Program(started_script, delay) as program:
        port = int(program.said())
        assert ask(port, "/readyz").status == 200
        began = program.signal()
        if delay:
            wait_until(lambda: ask(port, "/readyz").status == 503, "it drains")
        assert program.end() == -signal.SIGTERM
        assert delay <= time.monotonic() - began < delay + PATIENCE


def test_a_script_that_ends_by_itself_ends() -> None:
    """Neither the port nor its threads hold it back, nor hide an error."""
    with Program(ending_script) as program:
        assert program.said()
        assert program.end() == 0
    with Program(broken_script) as program:
        assert program.said()
        assert program.end() == 1
        assert "ValueError: as it happens" in program.log()


def test_a_block_in_another_thread_says_once_why_sigterm_is_not_taken_over() -> None:
    """That there is no delay is not the reason, since a block needs none."""
    with Program(thread_script, 0.0) as program:
        assert program.said().startswith("unsupported: the application does not run in the main")
        assert program.end() == 0
        assert program.log().count("SIGTERM will not drain first") == 1, program.log()
