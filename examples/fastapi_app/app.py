"""The order service. Run it with ``uvicorn examples.fastapi_app.app:app``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import RedisError
from sqlalchemy import func, select

from probekit.asgi import ProbeMiddleware

from .background import background
from .health import metrics, probes
from .storage import Order, cache, engine, session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LONGEST_REQUEST = 15.0
"""Seconds; no request takes longer, and kubernetes.yaml counts on it."""
PAYMENT = float(os.environ.get("PAYMENT_SECONDS", "2"))
"""Seconds that the payment provider takes; in this example it does nothing else."""


class NewOrder(BaseModel):
    """What a customer sends."""

    item: Annotated[str, Field(min_length=1, max_length=100)]
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1


class PlacedOrder(NewOrder):
    """What a customer gets."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    status: str


class Totals(BaseModel):
    """How business goes."""

    orders: int
    items: int


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Run the background work; close what was opened when all requests are done."""
    # uvicorn configures its own loggers only; probekit tells of every change on ``probekit``.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    async with background.running():
        yield
    if cache is not None:
        await cache.aclose()
    await engine.dispose()


app = FastAPI(title="Orders", lifespan=lifespan)
app.add_middleware(ProbeMiddleware, probes=probes, metrics=metrics)  # last, so outermost


@app.post("/orders", status_code=201)
async def place(new: NewOrder) -> PlacedOrder:
    """Place an order."""
    async with session.begin() as database:
        order = Order(item=new.item, quantity=new.quantity, status="new")
        database.add(order)
    return PlacedOrder.model_validate(order)


@app.get("/orders/{number}")
async def look_up(number: int) -> PlacedOrder:
    """Say how an order is doing."""
    async with session() as database:
        order = await database.get(Order, number)
    if order is None:
        raise HTTPException(404, f"there is no order {number}")
    return PlacedOrder.model_validate(order)


@app.post("/orders/{number}/payment")
async def pay(number: int) -> PlacedOrder:
    """Have an order paid; the slow request, which nobody wants cut off half-way."""
    await look_up(number)
    try:
        async with asyncio.timeout(LONGEST_REQUEST):
            await asyncio.sleep(PAYMENT)  # no connection is held while the provider takes its time
    except TimeoutError:
        raise HTTPException(504, "the payment provider does not answer") from None
    async with session.begin() as database:
        order = await database.get_one(Order, number)
        order.status = "paid"
    return PlacedOrder.model_validate(order)


@app.get("/totals")
async def totals() -> Totals:
    """Count everything, at most every ten seconds if there is a cache."""
    if (cached := await cached_totals()) is not None:
        return cached
    async with session() as database:
        query = select(func.count(), func.coalesce(func.sum(Order.quantity), 0)).select_from(Order)
        orders, items = (await database.execute(query)).one()
    counted = Totals(orders=orders, items=items)
    if cache is not None:
        try:
            await cache.set("totals", counted.model_dump_json(), ex=10)
        except RedisError as error:
            logging.getLogger("orders").warning("totals are not cached: %s", error)
    return counted


async def cached_totals() -> Totals | None:
    """Return the totals from the cache; a cache that fails is one that has nothing."""
    if cache is None:
        return None
    try:
        found = await cache.get("totals")
    except RedisError:
        return None
    return None if found is None else Totals(**json.loads(found))
