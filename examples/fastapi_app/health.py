"""What the platform is told about this service."""

from __future__ import annotations

import shutil
import tempfile

from sqlalchemy import func, select

from probekit import Degraded, Probes, Unhealthy
from probekit.checks.redis import RedisCheck
from probekit.observe.prometheus import instrument

from .background import background, database
from .storage import Order, cache, session

probes = Probes(name="orders")
metrics = instrument(probes)


@probes.startup
async def preparation() -> None:
    """Give it time: until this passes, readiness fails and nobody restarts the container."""
    if not background.prepared.is_set():
        raise Unhealthy(background.step)


@probes.liveness
async def dispatcher() -> None:
    """A task that has ended comes back only with the process, so a restart is the right answer."""
    if background.dispatcher is not None and background.dispatcher.done():
        raise Unhealthy("the dispatcher has ended")


# Without its database the service can do nothing: critical, which is the default.
probes.readiness(database)

# Without its cache it is slower, so it stays in service and says so.
if cache is not None:
    probes.readiness(RedisCheck(cache), name="cache", critical=False)


@probes.readiness(interval=2.0, critical=False)
async def backlog() -> dict[str, int]:
    """Count in the background, every two seconds, however often the probe comes."""
    if not background.prepared.is_set():
        raise Degraded("nothing to count before the preparation is done")
    async with session() as database_session:
        query = select(func.count()).select_from(Order).where(Order.status == "paid")
        waiting = await database_session.scalar(query) or 0
    if waiting > 100:
        raise Degraded("more than 100 paid orders wait", detail={"waiting": waiting})
    return {"waiting": waiting}


@probes.readiness(critical=False, max_age=10.0)
def disk() -> dict[str, int]:
    """Look at the disk: a check that blocks is a plain function and gets a thread of its own."""
    free = shutil.disk_usage(tempfile.gettempdir()).free // 1_000_000
    if free < 50:
        raise Unhealthy("less than 50 MB free", detail={"free_mb": free})
    return {"free_mb": free}
