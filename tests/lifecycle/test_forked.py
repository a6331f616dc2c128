"""A drain in a child that was forked while its parent drained, or was about to."""

from __future__ import annotations

from tests.forking import run_forking

PREAMBLE = """
import asyncio, os, sys, threading
from probekit import DrainStep, Observer, Probes

class Heard(Observer):
    def on_drain(self, drain):
        drains.append(drain and drain.reason)

drains = []
probes = Probes(observers=[Heard()], drain_delay=0, stuck_after=None)
"""


def run(program: str) -> None:
    """Run a program with that before it; see `run_forking`."""
    run_forking(PREAMBLE, program)


def test_a_child_drains_though_a_thread_of_the_parent_was_at_it() -> None:
    """Its locks are its own."""
    run("""
        entered, leave = threading.Event(), threading.Event()

        def come_to_a_step():
            with probes.service.steps._lock:
                entered.set()
                leave.wait(10)

        threading.Thread(target=come_to_a_step, daemon=True).start()
        entered.wait(10)

        def child():
            probes.drain(reason="mine")
            assert probes.service.steps.reached(DrainStep.BEGUN)

        in_child(child)
        leave.set()
    """)


def test_the_hooks_of_a_childs_own_drain_run_though_the_parent_drained() -> None:
    """The child has come to none of the parent's steps, and nobody waits in it."""
    run("""
        ran = []
        probes.on_drain(lambda: ran.append(os.getpid()), step=DrainStep.BEGUN)
        probes.on_drain(lambda: ran.append(os.getpid()), step=DrainStep.DONE)
        steps = probes.service.steps

        async def parent():
            waiting = asyncio.create_task(probes.wait_for(DrainStep.CLOSED))
            await asyncio.sleep(0)
            steps.reach(DrainStep.DONE)
            in_child(child)
            assert steps.reached(DrainStep.DONE)
            waiting.cancel()

        def child():
            assert not steps.reached(DrainStep.BEGUN)
            assert not steps._waiting
            ran.clear()
            steps._hooks.run = lambda hook: ran.append(hook.step)
            steps.reach(DrainStep.DONE)
            assert ran == [DrainStep.BEGUN, DrainStep.DONE], ran

        asyncio.run(parent())
    """)


def test_a_child_hears_of_a_drain_that_it_was_born_into() -> None:
    """As a worker does that the server starts during a drain; ended, it is told of once."""
    run("""
        probes.drain(reason="the parent's")
        assert drains == ["the parent's"]

        def child():
            drains.clear()
            switch = probes.service.drain
            assert not probes.service.steps.reached(DrainStep.BEGUN)
            for _ in range(2):
                switch.look(every=0.0)
                assert drains == ["the parent's"]
            assert probes.service.steps.reached(DrainStep.BEGUN)
            assert probes.draining.reason == "the parent's"
            probes.undrain()
            assert drains == ["the parent's", None]

        in_child(child)
    """)
