"""The example as a real server: uvicorn in a process of its own, storage in a directory of ours."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import pytest
from examples.fastapi_app.demo.client import Client
from examples.fastapi_app.demo.server import Server, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

Serve: TypeAlias = "Callable[..., AbstractAsyncContextManager[tuple[Server, Client]]]"


@pytest.fixture
def anyio_backend() -> str:
    """The client of the demo knows asyncio only, as the example does."""
    return "asyncio"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The SQLite file of the service."""
    return tmp_path / "orders.db"


@pytest.fixture
def serve(tmp_path: Path, database: Path) -> Serve:
    """Start the example with further variables; it ends with the block."""

    @asynccontextmanager
    async def start(**environment: str) -> AsyncGenerator[tuple[Server, Client]]:
        defaults = {
            "DATABASE_URL": f"sqlite+aiosqlite:///{database}",
            "PROBEKIT_DRAIN_DELAY": "0.5",
            "WARM_UP_SECONDS": "0",
            "PAYMENT_SECONDS": "0",
        }
        log = tmp_path / "server.log"
        async with (
            serving(log=log, environment=defaults | environment) as server,
            Client(await server.url()) as client,
        ):
            yield server, client

    return start
