"""The worker: a few consumers, and a keeper that holds their lease."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from .enqueue import feed
from .health import CONSUMERS, WAIT, heartbeat, probes, progress, queue, redis_url
from .redis_queue import LEASE

if TYPE_CHECKING:
    from .jobs import Job, Taken

HOST, PORT = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))

logger = logging.getLogger("invoices")


def handle(job: Job) -> None:
    """Render an invoice. It may be rendered twice, so the second one replaces the first."""
    time.sleep(job.seconds)
    if job.kind == "fail":
        raise ValueError(f"invoice {job.id} has no address")


# --8<-- [start:loop]
def work(taken: Taken) -> None:
    """Do one job, and tell the queue before it counts as done."""
    with probes.work(taken, name=f"invoice {taken.job.id}", on_abandon=queue.requeue):
        try:
            handle(taken.job)
            logger.info("invoice %s is rendered, attempt %d", taken.job.id, taken.attempt)
        except Exception:
            logger.exception("attempt %d at invoice %s failed", taken.attempt, taken.job.id)
            queue.failed(taken)
            progress.failure()
        else:
            queue.done(taken)
            progress.success()


def leaving() -> bool:
    """Whether SIGTERM has come."""
    return (drain := probes.draining) is not None and drain.final


def consume(name: str) -> None:
    """Do one job after the other until the worker leaves."""
    while not leaving():
        heartbeat.beat(name)
        try:
            if probes.draining:  # an operator's word, who may take it back
                time.sleep(WAIT / 5)
            elif (taken := queue.take(name, wait=WAIT)) is not None:
                work(taken)
        except RedisError as error:
            logger.warning("%s waits for its queue: %s", name, error)
            time.sleep(WAIT)
    heartbeat.stop(name)


# --8<-- [end:loop]


def keep(consumers: list[Thread]) -> None:
    """Hold the lease for as long as one of the consumers works."""
    while any(consumer.is_alive() for consumer in consumers):
        heartbeat.beat("keeper")
        hold_lease()
        until = time.monotonic() + min(LEASE / 3, WAIT)
        for consumer in consumers:
            consumer.join(max(0.0, until - time.monotonic()))
    heartbeat.stop("keeper")


def hold_lease() -> None:
    """Say that this worker lives; without Redis there is nobody to say it to."""
    try:
        queue.keep()
    except RedisError as error:
        logger.warning("the lease is not renewed: %s", error)


def main() -> None:
    """Work until SIGTERM or Ctrl-C comes and the last job is done."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m examples.worker", description=__doc__)
    parser.add_argument("--demo", action="store_true", help="order two invoices a second")
    demo: bool = parser.parse_args().demo
    if not redis_url:
        logger.warning("REDIS_URL is not set: a demo, with jobs in memory that die with the worker")
    # Ctrl-C is SIGTERM by hand, or it would leave the block while the consumers go on.
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    with probes.serve(host=HOST, port=PORT) as side:
        logger.info("the probes are at http://%s:%d/readyz?verbose", HOST, side.port)
        hold_lease()  # before the first job is taken
        # Daemons: one that hangs does not keep the process from ending.
        consumers = [Thread(target=consume, args=(name,), daemon=True) for name in CONSUMERS]
        if demo or not redis_url:
            Thread(target=feed, args=(queue,), kwargs={"enough": leaving}, daemon=True).start()
        for consumer in consumers:
            consumer.start()
        keep(consumers)
    with suppress(RedisError):
        queue.leave()  # or the lease ends by itself
