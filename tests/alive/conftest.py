"""Directories to put workers into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ._stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stage(runtime: Path) -> Iterator[Stage]:
    """A pod that is empty yet."""
    with Stage(runtime) as stage:
        yield stage
