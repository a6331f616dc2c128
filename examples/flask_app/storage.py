"""Where bookings live. ``python -m examples.flask_app.storage`` makes the tables."""

from __future__ import annotations

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from probekit.checks.sqlalchemy import SQLAlchemyCheck

# Without pool_timeout a request, and the check with it, would wait 30 s for a connection. The pool
# has one for each of a worker's threads, and one for the checks.
engine = create_engine(
    os.environ.get("DATABASE_URL", "sqlite:///bookings.db"), pool_size=5, pool_timeout=3
)
session = sessionmaker(engine, expire_on_commit=False)
database = SQLAlchemyCheck(engine, writable=True)


class Base(DeclarativeBase):
    """The tables."""


class Booking(Base):
    """A seat that somebody wants: ``new``, then ``confirmed``."""

    __tablename__ = "bookings"

    id: Mapped[int] = mapped_column(primary_key=True)
    seat: Mapped[str]
    status: Mapped[str] = mapped_column(default="new", index=True)


def migrate() -> None:
    """Make the tables, the check's own among them; what is there already stays."""
    database.create_table()
    Base.metadata.create_all(engine)


if __name__ == "__main__":
    migrate()
