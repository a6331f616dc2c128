"""What the service does beside its requests: it prepares itself, then dispatches paid orders."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from probekit.checks.sqlalchemy import SQLAlchemyCheck

from .storage import Base, Order, engine, session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

logger = logging.getLogger("orders")

WARM_UP = float(os.environ.get("WARM_UP_SECONDS", "2"))
"""Seconds that loading the price list takes."""

database = SQLAlchemyCheck(engine, writable=True)


class Background:
    """The tasks, and how far they have come.

    Attributes:
        step: What the preparation is busy with.
        prepared: Set when it is done.
        dispatcher: The task that dispatches, or None while there is none.
    """

    def __init__(self) -> None:
        self.step = "not begun"
        self.prepared = asyncio.Event()
        self.dispatcher: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the tasks while the body runs; neither holds the server's start up."""
        self.dispatcher = asyncio.create_task(self._dispatch())
        preparation = asyncio.create_task(self._prepare())
        try:
            yield
        finally:
            for task in (self.dispatcher, preparation):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _prepare(self) -> None:
        while not self.prepared.is_set():
            try:
                self.step = "migrating the database"
                async with engine.begin() as connection:
                    await connection.run_sync(Base.metadata.create_all)
                await database.create_table()
                self.step = "loading the price list"
                await asyncio.sleep(WARM_UP)
            except (SQLAlchemyError, OSError) as error:
                self.step = f"{self.step} failed ({type(error).__name__}), trying again"
                logger.warning("%s: %s", self.step, first_line(error))
                await asyncio.sleep(1)
            else:
                self.prepared.set()

    async def _dispatch(self) -> None:
        await self.prepared.wait()
        while True:
            try:
                async with session.begin() as database_session:
                    await database_session.execute(
                        update(Order).where(Order.status == "paid").values(status="dispatched")
                    )
            except (SQLAlchemyError, OSError) as error:
                logger.warning("nothing is dispatched for now: %s", first_line(error))
            await asyncio.sleep(0.5)


def first_line(error: Exception) -> str:
    """Return what went wrong without SQLAlchemy's advice below it."""
    return str(error).partition("\n")[0]


background = Background()
