"""How the callback of a loop is found, and told from what merely looks like one."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
import uvloop

from probekit._lifecycle.below import LoopBelow, callback_of
from probekit._lifecycle.relay import RELAY
from tests.waiting import until
from tests.web._asking import make_probes

from ._loops import FACTORIES, LoopServer, arrived, run, settled
from ._signals import REMEDY, StandIn, end, sigterm, started, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("nobody_else")

ON_BOTH = pytest.mark.parametrize("factory", FACTORIES)


@pytest.fixture
def descriptor_15() -> Iterator[int]:
    """Return the writing end of a pipe whose reading end is file descriptor 15."""
    reading, writing = os.pipe()
    try:
        spare = os.dup(15)
    except OSError:
        spare = None
    if reading != 15:
        os.dup2(reading, 15)
        os.close(reading)
    yield writing
    os.close(writing)
    os.close(15)
    if spare is not None:
        os.dup2(spare, 15)
        os.close(spare)


@ON_BOTH
@pytest.mark.parametrize("owned", [False, True], ids=["handler", "callback"])
def test_a_reader_on_file_descriptor_15_is_not_taken_for_sigterm(
    owned: bool, factory: Callable[[], asyncio.AbstractEventLoop], descriptor_15: int
) -> None:
    """Uvloop keeps tables by file descriptor beside that of the signals."""
    got: list[bytes] = []

    async def main(server: LoopServer) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(15, lambda: got.append(os.read(15, 10)))
        if not owned:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, server.handle)
        probes = started()
        assert probes.sigterm == "armed"
        sigterm()
        assert state(probes) == [True]
        await arrived(server)
        end(probes)
        os.write(descriptor_15, b"there")
        await until(lambda: bool(got))
        assert got == [b"there"]
        loop.remove_reader(15)

    run(factory, main)


class Handle:
    """A file of somebody's that has the name of what loops keep for a callback."""

    def fileno(self) -> int:
        """Return the number of SIGTERM."""
        return 15


@pytest.mark.usefixtures("descriptor_15")
def test_a_file_whose_class_has_the_name_of_a_callbacks_is_not_taken_for_one() -> None:
    """Uvloop has a table of the files that are read, by file descriptor."""

    async def main(server: LoopServer) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, server.handle)
        file = Handle()
        loop.add_reader(file, int)
        probes = started()
        try:
            sigterm()
            await arrived(server)
        finally:
            end(probes)
            loop.remove_reader(file)

    run(uvloop.new_event_loop, main)


@ON_BOTH
def test_a_loop_that_owns_other_signals_is_no_obstacle(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Signals beside SIGTERM do not matter, nor does one that was asked for and given up."""

    async def main(server: LoopServer) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, server.handle)
        probes = make_probes(drain_delay=0.05)
        async with probes.lifespan():
            assert probes.sigterm == "armed"
            sigterm()
            await arrived(server)
        loop.remove_signal_handler(signal.SIGUSR1)

    run(factory, main)


class OtherLoop(asyncio.SelectorEventLoop):
    """A loop that owns SIGTERM and has no table that anybody knows."""

    def own(self) -> None:
        """Take the signal."""
        signal.signal(signal.SIGTERM, self.taken)

    def taken(self, _number: int, _frame: object) -> None:
        """Do as loops do: nothing, since the signal is read from a pipe."""


def test_an_unknown_loop_that_owns_the_signal_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    """State and log say which it is, and what to do; nothing is touched."""
    loops: list[OtherLoop] = []

    def factory() -> OtherLoop:
        loops.append(OtherLoop())
        return loops[-1]

    async def main() -> None:
        loops[0].own()
        probes = make_probes(drain_delay=30)
        async with probes.lifespan():
            assert probes.sigterm == (
                f"unsupported: an event loop owns SIGTERM and keeps it to itself "
                f"({__name__}.OtherLoop); {REMEDY}"
            )
            sigterm()
            assert state(probes) == [False]
            assert signal.getsignal(signal.SIGTERM) == loops[0].taken

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert caplog.text.count("SIGTERM will not drain first: unsupported: an event loop") == 1


def test_a_loop_that_does_not_run_here_keeps_the_signal() -> None:
    """Whose handler it is can be seen; whose loop, and in which table, cannot."""
    loop = asyncio.new_event_loop()
    try:
        loop.add_signal_handler(signal.SIGTERM, int)
        handler = signal.getsignal(signal.SIGTERM)
        probes = started()
        assert probes.sigterm.startswith("unsupported: an event loop owns SIGTERM and keeps it")
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        loop.close()


@ON_BOTH
def test_a_handler_of_the_default_kind_beside_a_running_loop_is_no_loops(
    factory: Callable[[], asyncio.AbstractEventLoop], server: StandIn
) -> None:
    """Uvicorn's case: the loop turns, and the signal is not its own."""

    async def main() -> None:
        probes = make_probes(drain_delay=0.05)
        async with probes.lifespan():
            assert probes.sigterm == "armed"
            sigterm()
            await settled()
            await until(lambda: bool(server.signals))

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@ON_BOTH
def test_the_callback_is_named_whatever_loop_keeps_it(
    factory: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    """The plan names who gets the signal."""
    caplog.set_level("INFO", "probekit")

    async def main(_: LoopServer) -> None:
        end(started())

    run(factory, main)
    assert "hand it to the handler tests.lifecycle._loops.LoopServer.callback" in caplog.text


def test_what_has_no_callback_has_none() -> None:
    """A handle of some later loop's may keep it elsewhere; that costs its name and no more."""
    assert callback_of(object()) is None


def test_a_loop_that_refuses_leaves_the_signal_to_the_server() -> None:
    """What the loop says is in the state, and the callback stays where it was."""
    refusing: list[bool] = []

    class Refusing(asyncio.SelectorEventLoop):
        def add_signal_handler(self, sig: int, callback: object, *args: object) -> None:
            if refusing:
                raise RuntimeError("no more signals")
            super().add_signal_handler(sig, callback, *args)  # type: ignore[arg-type] # loose on purpose

    async def main(server: LoopServer) -> None:
        refusing.append(True)
        probes = started()
        assert probes.sigterm == (
            f"unsupported: the signal handler was refused: no more signals; {REMEDY}"
        )
        assert await server.alone()

    run(Refusing, main)


@ON_BOTH
def test_a_callback_that_came_amid_the_hand_over_stays(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The application has given the signal another meaning, and keeps it."""

    async def main(_server: LoopServer) -> None:
        loop = asyncio.get_running_loop()
        heard: list[str] = []
        probes = started()
        layer = RELAY._layer
        assert layer is not None
        assert isinstance(layer.below, LoopBelow)
        layer.below.hand_over(signal.SIGTERM, None)
        layer.below._read_from_pipe()
        loop.add_signal_handler(signal.SIGTERM, heard.append, "theirs")
        await asyncio.sleep(0.05)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: heard == ["theirs"])
        end(probes)

    run(factory, main)
