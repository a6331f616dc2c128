"""What the platform is told about this service."""

from __future__ import annotations

from sqlalchemy import func, inspect, select

from probekit import Degraded, Probes, Unhealthy

from .storage import Booking, database, engine, session

# All threads busy with the same requests for so long are stuck; the longest in order takes 15 s.
probes = Probes(name="bookings", stuck_after=20)


@probes.startup
def tables() -> None:
    """Wait for the migration, which is a job of its own and may come later."""
    if not inspect(engine).has_table(Booking.__tablename__):
        raise Unhealthy("the tables are not there yet: python -m examples.flask_app.storage")


# The pool that requests use: an exhausted one fails the check as it fails them.
probes.readiness(database)


@probes.readiness(interval=2.0, initial_delay=0, critical=False)
def unconfirmed() -> dict[str, int]:
    """Count in the background, every two seconds, however often the probe comes."""
    with session() as database_session:
        query = select(func.count()).select_from(Booking).where(Booking.status == "new")
        waiting = database_session.scalar(query) or 0
    if waiting > 100:
        raise Degraded("more than 100 bookings wait", detail={"waiting": waiting})
    return {"waiting": waiting}
