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


def test_what_the_application_has_closed_is_closed_no_second_time(shared: Making) -> None:
    """A daemoniser closes whatever is open; the numbers are soon somebody else's."""
    service = shared().service
    pod = service.pod
    pod.announce(service._line())
    closed = [pod.directory, pod._presence]
    for descriptor in closed:
        assert descriptor is not None
        os.close(descriptor)
    pod.renew()
    others = os.pipe()  # which get the lowest numbers that are free
    assert sorted(others) == sorted(each for each in closed if each is not None)
    assert pod.directory not in others
    pod.leave()
    for descriptor in others:
        os.fstat(descriptor)
        os.close(descriptor)


def test_a_worker_whose_descriptors_were_closed_leaves_all_the_same(shared: Making) -> None:
    """It forgets them, and closes nothing twice."""
    service = shared().service
    pod = service.pod
    pod.announce(service._line())
    assert pod.directory is not None
    assert pod._presence is not None
    os.close(pod._presence)
    before = len(descriptors())
    pod.leave()
    assert len(descriptors()) == before - 1
