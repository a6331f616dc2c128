"""The server that the applications are measured on: uvicorn as its users run it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from tests.e2e.servers import serve

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from tests.e2e.servers import Server

T = TypeVar("T")

__all__ = ["describe", "on_uvicorn", "run"]

LOOP = "uvloop" if find_spec("uvloop") else "asyncio"
PARSER = "httptools" if find_spec("httptools") else "h11"


def describe() -> str:
    """Return in words what serves."""
    return f"uvicorn {version('uvicorn')} with {LOOP} and {PARSER}, one process"


def on_uvicorn(app: str | Path, **environ: str) -> Server:
    """Return a server for an application, not yet started."""
    options = ["--http", PARSER, "--log-level", "warning"]
    return serve(app, f"uvicorn-{LOOP}", *options, port=None, measured=True, **environ)


def run(main: Coroutine[object, object, T], *, patience: float = 60.0) -> T:
    """Run a client for ``patience`` seconds at most."""

    async def limited() -> T:
        async with asyncio.timeout(patience):
            return await main

    return asyncio.run(limited())
