"""Where orders live: SQLite or PostgreSQL, and Redis before it if there is one."""

from __future__ import annotations

import os

from redis.asyncio import Redis
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

url = make_url(os.environ.get("DATABASE_URL") or "sqlite+aiosqlite:///orders.db")
if url.drivername in {"postgres", "postgresql"}:
    url = url.set(drivername="postgresql+asyncpg")

# Without pool_timeout a request, and the check with it, would wait 30 s for a connection.
engine = create_async_engine(url, pool_timeout=3)
session = async_sessionmaker(engine, expire_on_commit=False)

cache: Redis | None = None
if redis_url := os.environ.get("REDIS_URL"):
    cache = Redis.from_url(redis_url, socket_connect_timeout=0.5, socket_timeout=0.5)


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """What a customer wants: ``new``, then ``paid``, then ``dispatched``."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    quantity: Mapped[int]
    status: Mapped[str] = mapped_column(default="new", index=True)
