"""What a forked child must not take over: it has none of its parent's threads and loops."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["renew_in_children"]


class Renewable(Protocol):
    """Something that knows about threads or holds a lock."""

    def renew(self) -> None:
        """Forget whatever belonged to the parent's threads."""
        ...


_LIVING: WeakSet[Renewable] = WeakSet()


def renew_in_children(each: Renewable) -> None:
    """Have ``each`` renewed in every child that is forked, for as long as it lives."""
    _LIVING.add(each)


def _renew() -> None:
    for each in list(_LIVING):
        each.renew()


def _no_fork(*, after_in_child: Callable[[], None]) -> None:
    """Do nothing, on systems that cannot fork."""


getattr(os, "register_at_fork", _no_fork)(after_in_child=_renew)
