"""What must be made anew in a child that was just forked: locks, descriptors, threads."""

from __future__ import annotations

import logging  # before the hook below: it has made its own locks anew when that has to log
import os
import weakref
from typing import Protocol

__all__ = ["renew_when_forked"]


class Renewable(Protocol):
    """Something that holds what a fork does not take along, or should not."""

    def renew(self) -> None:
        """Be as new: another thread may have held the lock, and files that are open are shared."""
        ...


logger = logging.getLogger("probekit")

_known: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_when_forked(each: Renewable) -> None:
    """Call ``each.renew()`` in every child of this process that is forked."""
    _known.add(each)


def _renew() -> None:
    for each in list(_known):
        try:
            each.renew()
        except Exception:
            logger.exception("%r could not be made anew in a forked child", each)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
