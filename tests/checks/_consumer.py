"""A consumer of a Redis list behind a web server, with the three checks of a worker."""

from __future__ import annotations

import os
import threading

import redis

from probekit import Probes
from probekit.asgi import probe_app
from probekit.checks.worker import Heartbeat, Level, Progress

consumed = redis.Redis.from_url(os.environ["REDIS_URL"])
# With limits: the one that asks for the depth must notice that nobody answers.
asked = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=0.2)

heartbeat = Heartbeat(max_age=0.5, loops=["consumer"])
progress = Progress(max_failures=2)


def depth() -> int:
    """Return how many jobs wait."""
    return int(str(asked.llen("jobs")))


probes = Probes(drain_delay=0)
probes.liveness(heartbeat, name="consumer", max_age=0)
probes.readiness(progress, name="jobs", max_age=0)
probes.readiness(Level(depth, maximum=5, max_age=0.1, stale_after=1.0, wait=0.1), max_age=0)
app = probe_app(probes)


def consume() -> None:
    """Take one job after the other; the job ``die`` ends the loop without a word."""
    while True:
        heartbeat.beat("consumer")
        job = consumed.lpop("jobs")
        if job is None:
            threading.Event().wait(0.05)
        elif job == b"die":
            return
        elif job == b"fail":
            progress.failure()
        else:
            progress.success()


threading.Thread(target=consume, daemon=True).start()
