"""Workers that meet in a directory of the test's own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from probekit import Probes

from ._workers import Worker, pod_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def worker(runtime: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers that meet in `runtime`, and end them after the test."""
    with ExitStack() as workers:
        yield lambda **options: workers.enter_context(Worker(runtime, **options))


@pytest.fixture
def shared(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Probes]:
    """Make `Probes` of the test's own process that keep their state in `runtime`."""
    for name in ("PROBEKIT_SCOPE", "PROBEKIT_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in pod_environment(runtime).items():
        monkeypatch.setenv(name, value)
    return lambda **options: Probes(**{"observers": [], "drain_delay": 0, **options})
