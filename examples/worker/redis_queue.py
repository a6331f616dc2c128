"""A queue on Redis that loses no job when a worker dies.

A job is always in a list: in ``jobs`` while it waits, in ``jobs:taken:<worker>:<consumer>`` while
somebody works on it. A worker says by ``jobs:lease:<worker>``, which expires, that it lives; what
is held without a lease goes back, whoever sees it first. So a job may be done twice, never lost.
Whoever holds a job is in ``jobs:holders``, since to look for the lists among all keys of a Redis
that others use as well would take longer than a lease lasts.
"""

from __future__ import annotations

import os
import secrets
import socket
import time

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .jobs import ATTEMPTS, Job, Taken

LEASE = float(os.environ.get("LEASE_SECONDS", "15"))
"""Seconds after which the jobs of a worker that died without a word go back."""

JOBS, TAKEN, LEASES = "jobs", "jobs:taken", "jobs:lease"
BEGUN, DEAD, HOLDERS = "jobs:begun", "jobs:dead", "jobs:holders"

TAKE = """
redis.call('SADD', KEYS[3], KEYS[2])
while redis.call('LMOVE', KEYS[2], KEYS[1], 'LEFT', 'RIGHT') do end
return redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
"""
"""Put back what a lost answer, or a lost acknowledgement, has left in a consumer's hands; then take
the next. Its name is written down in the same step: between two, whoever takes this worker for
dead could strike the name out, and the job would be in a list that nobody looks at."""

SWEEP = """
for _, holder in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. string.match(holder, '([^:]+):[^:]*$')) == 0 then
    while redis.call('LMOVE', holder, KEYS[2], 'LEFT', 'RIGHT') do end
    redis.call('SREM', KEYS[1], holder)
  end
end
"""
"""Put back what is held without a lease, and strike out who held it."""

BEGIN = """
if not redis.call('LPOS', KEYS[1], ARGV[1]) then return false end
return redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
"""
"""Count how often a job is begun, unless somebody else has taken it away."""

MOVE = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return end
if ARGV[2] ~= 'drop' then redis.call(ARGV[2], KEYS[2], ARGV[1]) end
if ARGV[3] then redis.call(ARGV[3], KEYS[3], unpack(ARGV, 4)) end
"""
"""Move one entry from a list to an end of another, or drop it, unless somebody else has taken it
away; change the count of its job in the same step, before anybody can take it anew."""


class RedisQueue:
    """The queue, as one worker sees it.

    Args:
        url: Where Redis is. Jobs live as long as it does: let it run with ``appendonly yes``.
    """

    def __init__(self, url: str) -> None:
        # No retries: a job that was taken for an answer that got lost is put back, and taken anew.
        self.client: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=1,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        # A name that nobody has had before: a restarted worker must not renew its former lease.
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._take = self.client.register_script(TAKE)
        self._sweep = self.client.register_script(SWEEP)
        self._begin = self.client.register_script(BEGIN)
        self._script = self.client.register_script(MOVE)

    def put(self, *jobs: Job) -> None:
        """Add jobs."""
        self.client.lpush(JOBS, *(job.write() for job in jobs))

    def take(self, consumer: str, *, wait: float) -> Taken | None:
        """Return the next job, or None if there is none for ``wait`` seconds, or it is gone."""
        holder = f"{TAKEN}:{self.worker}:{consumer}"
        keys = [JOBS, holder, HOLDERS]
        entry = self._take(keys=keys)
        # From an end to the same end: it waits for a job and leaves it where it is, since no script
        # can wait.
        if entry is None and self.client.blmove(JOBS, JOBS, wait, "RIGHT", "RIGHT"):  # type: ignore[arg-type] # 0.2 s, too
            entry = self._take(keys=keys)
        if entry is None:
            return None
        text = str(entry)
        try:
            job = Job.read(text)
        except (TypeError, ValueError):
            self._move(Taken(Job(), 0, holder, text), DEAD, "LPUSH")
            return None
        attempt = self._begin(keys=[holder, BEGUN], args=[text, job.id])
        if attempt is None:  # the lease has ended meanwhile
            return None
        taken = Taken(job, int(str(attempt)), holder, text)
        if taken.attempt > ATTEMPTS:  # nobody lived to call `failed`
            self._bury(taken)
            return None
        return taken

    def done(self, taken: Taken) -> None:
        """Forget a job: it is done."""
        self._move(taken, JOBS, "drop", "HDEL", taken.job.id)

    def failed(self, taken: Taken) -> None:
        """Put a job at the end of the queue, or to the dead letters if it has failed too often."""
        if taken.attempt >= ATTEMPTS:
            self._bury(taken)
        else:
            self._move(taken, JOBS, "LPUSH")

    def requeue(self, taken: Taken) -> None:
        """Put a job back at the front, through no fault of its own."""
        self._move(taken, JOBS, "RPUSH", "HINCRBY", taken.job.id, "-1")

    def keep(self) -> None:
        """Say that this worker lives, and put back what dead ones held; call it again and again."""
        self.client.set(f"{LEASES}:{self.worker}", "", px=int(LEASE * 1000))
        self._sweep(keys=[HOLDERS, JOBS], args=[f"{LEASES}:"])

    def leave(self) -> None:
        """Say that this worker holds nothing any more, or that what it holds is for others."""
        self.client.delete(f"{LEASES}:{self.worker}")

    def depth(self) -> int:
        """Return how many jobs wait."""
        return self.client.llen(JOBS)

    def oldest(self) -> float:
        """Return for how many seconds the next job has waited; 0.0 if there is none."""
        entry = self.client.lindex(JOBS, -1)
        return 0.0 if entry is None else time.time() - Job.read(str(entry)).enqueued

    def dead(self) -> int:
        """Return how many dead letters there are."""
        return self.client.llen(DEAD)

    def _bury(self, taken: Taken) -> None:
        self._move(taken, DEAD, "LPUSH", "HDEL", taken.job.id)

    def _move(self, taken: Taken, to: str, how: str, *count: str) -> None:
        self._script(keys=[taken.holder, to, BEGUN], args=[taken.text, how, *count])
