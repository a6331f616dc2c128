"""Workers without HTTP, as whole programs: they say what they do, a line each."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time

from probekit import Probes
from tests.lifecycle._signals import say

FOREVER = 60.0
LATE = 5.0
"""Seconds that all calls of ``on_abandon`` have."""


def take(job: str) -> None:
    """Write a job down, or fail to, as its name says."""
    if job == "raises":
        raise LookupError(job)
    if job == "hangs":
        time.sleep(FOREVER)
    say(f"back {job}")


async def take_on_loop(job: str) -> None:
    """Do the same on the loop."""
    await asyncio.sleep(0.01)
    take(job)


def make(linger: float, *, delay: float = 0.3) -> Probes:
    """Return Probes that log to the standard error."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    probes = Probes(drain_delay=delay, linger=linger)
    probes.on_abandon(take)
    return probes


def in_thread(probes: Probes, job: str) -> None:
    """Handle a job on a thread of its own; return when it has begun."""
    begun = threading.Event()

    def handle() -> None:
        with probes.work(job):
            begun.set()
            time.sleep(0.8 if job == "short" else FOREVER)
            say(f"ended {job}")

    threading.Thread(target=handle, daemon=True).start()
    begun.wait()


def threads(linger: float, *jobs: str) -> None:
    """Handle jobs on threads and do nothing else, whatever comes."""
    probes = make(linger)

    async def main() -> None:
        async with probes.lifespan():
            for job in jobs:
                in_thread(probes, job)
            say("working")
            await asyncio.sleep(FOREVER)

    asyncio.run(main())


def leaving(linger: float, seconds: float) -> None:
    """Leave a block by itself, or as soon as it drains, with a job that must be given back."""
    probes = make(linger)

    def take_slowly(job: str) -> None:
        say(f"taking {job}")
        time.sleep(seconds)
        say(f"back {job}")

    with probes.serve(host="127.0.0.1", port=0):
        probes.work("long", on_abandon=take_slowly).__enter__()
        say("working")
        while linger and not probes.draining:
            time.sleep(0.001)
    say("left")


def undelayed(linger: float) -> None:
    """Leave a block as soon as it drains, without a delay, with a job that must be given back."""
    probes = make(linger, delay=0.0)
    with probes.serve(host="127.0.0.1", port=0):
        probes.work("long").__enter__()
        say("working")
        while not probes.draining:
            time.sleep(0.05)  # longer than from one signal to the next
    say("left")


def unwilling(seconds: float) -> None:
    """Begin another job while the first is given back."""
    probes = make(0.0)

    def take_slowly(job: str) -> None:
        if job == "first":
            probes.work("second", on_abandon=take_slowly).__enter__()
        time.sleep(seconds)
        say(f"back {job}")

    probes.start(host="127.0.0.1", port=0)
    probes.work("first", on_abandon=take_slowly).__enter__()
    say("working")
    time.sleep(FOREVER)


def tasks(linger: float) -> None:
    """Take jobs in a loop until it drains, and leave the lifespan while others are unfinished."""
    probes = make(linger)

    @probes.worker(on_abandon=take_on_loop)
    async def handle(job: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        say(f"ended {job}")

    async def main() -> None:
        async with probes.lifespan():
            held = [
                asyncio.create_task(handle("short", 1.0)),
                asyncio.create_task(handle("long", FOREVER)),
            ]
            await asyncio.sleep(0)
            say("working")
            while not probes.draining:
                await asyncio.sleep(0.02)
            say(f"left {len(held)}")
        say("closed")

    asyncio.run(main())
