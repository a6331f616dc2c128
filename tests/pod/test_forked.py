"""What a pod has open, in a child that was forked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ._workers import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

    Making = Callable[..., Probes]


def test_a_pod_that_is_made_anew_has_nothing_open_and_opens_it_again(shared: Making) -> None:
    """The files that a child has open would be its parent's."""
    before = len(descriptors())
    service = shared().service
    service.pod.announce(service._line())
    assert len(descriptors()) == before + 2
    service.pod.renew()
    assert len(descriptors()) == before
    service.pod.announce(service._line())
    assert [worker.pid for worker in service.pod.workers()] == [os.getpid()]
    service.pod.leave()
    assert len(descriptors()) == before
