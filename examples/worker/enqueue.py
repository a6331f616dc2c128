"""Order invoices: ``python -m examples.worker.enqueue 100 --seconds 0.5``."""

from __future__ import annotations

import argparse
import os
import random
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from .jobs import Job
from .redis_queue import RedisQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Queue


def feed(queue: Queue, *, enough: Callable[[], bool]) -> None:
    """Order two invoices a second, of which some cannot be rendered."""
    while not enough():
        fails = random.random() < 0.02
        queue.put(Job(random.uniform(0.1, 2.0), "fail" if fails else "render"))
        time.sleep(0.5)


def main() -> None:
    """Order what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m examples.worker.enqueue", description=__doc__)
    parser.add_argument("count", type=int, help="how many")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long each takes (0.1)")
    parser.add_argument("--kind", choices=["render", "fail"], default="render")
    arguments = parser.parse_args()
    if not (url := os.environ.get("REDIS_URL")):
        parser.error(
            "REDIS_URL is not set, and the jobs of a worker without Redis are in its own memory; "
            "set it for both, to redis://localhost:6379/0 for instance"
        )
    jobs = (Job(arguments.seconds, arguments.kind) for _ in range(arguments.count))
    try:
        RedisQueue(url).put(*jobs)
    except (RedisError, ValueError) as error:  # the second for a URL that is none
        parser.exit(1, f"{parser.prog}: nothing is ordered at REDIS_URL: {error}\n")


if __name__ == "__main__":
    main()
