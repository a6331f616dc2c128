"""What the platform is told about this worker."""

from __future__ import annotations

import os

from probekit import Probes
from probekit.checks.redis import RedisCheck
from probekit.checks.worker import Heartbeat, Level, Progress

from .jobs import MemoryQueue, Queue
from .redis_queue import RedisQueue

LONGEST_JOB = float(os.environ.get("LONGEST_JOB_SECONDS", "20"))
"""Seconds; no job takes longer, and kubernetes.yaml counts on it."""
LINGER = float(os.environ.get("LINGER_SECONDS", 1.1 * LONGEST_JOB))
"""Seconds from SIGTERM until jobs that are still under way are put back."""
WAIT = float(os.environ.get("WAIT_SECONDS", "1"))
"""Seconds that an idle consumer waits for a job before it comes round again."""
CONSUMERS = [f"consumer-{number}" for number in range(int(os.environ.get("CONSUMERS", "4")))]

redis_url = os.environ.get("REDIS_URL")
queue: Queue = RedisQueue(redis_url) if redis_url else MemoryQueue()

# --8<-- [start:declared]
# No load balancer must hear of it, so SIGTERM needs no delay: the loops take no more jobs, and
# those under way have until `linger` is over. What is not done by then is put back.
probes = Probes(name="invoices", drain_delay=0, linger=LINGER)

# A loop that hangs comes back only with the process, so a restart is the right answer.
heartbeat = Heartbeat(max_age=1.25 * LONGEST_JOB, loops=["keeper", *CONSUMERS])
probes.liveness(heartbeat, name="loops")

# Nobody sends a worker its jobs, but a rollout waits for readiness: a release whose jobs fail, or
# which does not reach its queue, goes no further.
progress = Progress(degrade_below=0.95, max_failures=20)
probes.readiness(progress, name="jobs")
if isinstance(queue, RedisQueue):
    probes.readiness(RedisCheck(queue.client, writable=True), name="redis")

# The queue is everybody's: what it holds is shown, counted and logged, and condemns no worker.
probes.readiness(Level(queue.depth, degrade_above=1000, max_age=5), name="backlog", critical=False)
probes.readiness(Level(queue.oldest, degrade_above=60, max_age=5), name="oldest", critical=False)
probes.readiness(Level(queue.dead, degrade_above=0, max_age=5), name="dead", critical=False)
# --8<-- [end:declared]
