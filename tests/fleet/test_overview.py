"""Which replicas the operator sees, in which state, and how they are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probekit.exceptions import FleetError

from ._foreign import PODS, pod_line

if TYPE_CHECKING:
    from probekit.fleet import Fleet


def test_states(fleet: Fleet, client: Any) -> None:
    """Each pod is in one of six states, and all but those that left count."""
    pod_line(client, "a/1/app")
    pod_line(client, "b/1/app", ready=1)
    pod_line(client, "c/1/app", ready=1, draining=1)
    pod_line(client, "d/1/app", workers=0, ready=0)
    pod_line(client, "e/1/app", at=11)
    pod_line(client, "f/1/app", left=True, at=3000)
    pod_line(client, "g/1/app", ready=1, unknown=1)
    pod_line(client, "h/1/app", ready=0, unknown=1)
    found = fleet.status()
    assert {each.host: each.state for each in found.replicas} == {
        "a": "healthy",
        "b": "unhealthy",
        "c": "draining",
        "d": "unhealthy",
        "e": "gone",
        "f": "left",
        "g": "starting",
        "h": "unhealthy",
    }
    counts = (found.total, found.healthy, found.starting, found.unhealthy, found.percent)
    assert counts == (7, 1, 1, 5, 14.3)
    assert not found.good
    assert found.replicas[4].age == pytest.approx(11, abs=2)


def test_nobody_is_not_good(fleet: Fleet) -> None:
    """A fleet of which nothing is known is no healthy one."""
    found = fleet.status()
    assert (found.total, found.percent, found.good) == (0, None, False)


def test_a_pod_that_was_replaced_counts_no_more(fleet: Fleet, client: Any) -> None:
    """One that came to the same host after another was gone takes its place."""
    now = client.time()[0]
    pod_line(client, "a/1/app", at=600)
    pod_line(client, "a/2/app", since=now - 300)
    pod_line(client, "b/1/app", at=600)
    pod_line(client, "b/2/app", since=now - 900)
    found = fleet.status()
    assert [each.id for each in found.replicas] == ["a/2/app", "b/2/app", "b/1/app"]
    assert (found.total, found.healthy) == (3, 2)


def test_one_that_came_replaces_one_that_is_gone(fleet: Fleet, client: Any) -> None:
    """Of two on one machine that crashed, one is back: the other one is missed."""
    now = client.time()[0]
    pod_line(client, "a/1/app", at=600)
    pod_line(client, "a/2/app", at=610)
    pod_line(client, "a/3/app", since=now - 500)
    found = fleet.status()
    assert [(each.id, each.state) for each in found.replicas] == [
        ("a/2/app", "gone"),
        ("a/3/app", "healthy"),
    ]
    assert (found.total, found.percent, found.good) == (2, 50.0, False)
    pod_line(client, "a/4/app", since=now - 400)
    assert fleet.status().good


@pytest.mark.parametrize("began", [400, 420], ids=["afterwards", "while it left"])
def test_a_restart_hides_no_crash(fleet: Fleet, client: Any, began: int) -> None:
    """Of two on one machine one crashed; the other one was restarted in order."""
    now = client.time()[0]
    pod_line(client, "a/1/app", at=600)
    pod_line(client, "a/2/app", since=now - 3000, at=405, left=True)
    pod_line(client, "a/3/app", since=now - began)
    found = fleet.status()
    assert {each.id: each.state for each in found.replicas} == {
        "a/1/app": "gone",
        "a/2/app": "left",
        "a/3/app": "healthy",
    }
    assert (found.total, found.percent, found.good) == (2, 50.0, False)


def test_a_departure_hides_no_restart(fleet: Fleet, client: Any) -> None:
    """One crashed and came back; when another one leaves later, the first is not missed again."""
    now = client.time()[0]
    pod_line(client, "a/1/app", since=now - 3000, at=600)
    pod_line(client, "a/2/app", since=now - 3000, at=100, left=True)
    pod_line(client, "a/3/app", since=now - 580)
    found = fleet.status()
    assert [each.id for each in found.replicas] == ["a/2/app", "a/3/app"]
    assert found.good


def test_a_container_that_crashes_again_and_again(fleet: Fleet, client: Any) -> None:
    """Each run replaces the one before, so that the last one is left."""
    now = client.time()[0]
    for number in range(4):
        ago = 600 - 100 * number
        pod_line(client, f"a/{number}/app", since=now - ago, at=ago - 50)
    found = fleet.status()
    assert [(each.id, each.state) for each in found.replicas] == [("a/3/app", "gone")]
    pod_line(client, "a/4/app", since=now - 20)
    assert fleet.status().good


def test_after_an_hour_a_pod_is_forgotten(fleet: Fleet, client: Any) -> None:
    """It is listed no more, and whoever announces itself removes it."""
    pod_line(client, "old/1/app", at=3601)
    pod_line(client, "new/1/app", at=3500)
    assert [each.host for each in fleet.status().replicas] == ["new"]
    with fleet._connect() as store:
        store.forget()
        store.forget()
    assert set(client.hgetall(PODS)) == {"probekit", "new/1/app"}


def test_what_another_version_announces_is_counted(fleet: Fleet, client: Any) -> None:
    """A rolling upgrade of probekit hides no pod."""
    pod_line(client, "a/1/app")
    pod_line(client, "b/1/app", version=2)
    pod_line(client, "c/1/app", workers="many")
    pod_line(client, "d/1/app", since=None)
    found = fleet.status()
    assert ([each.host for each in found.replicas], found.unreadable) == (["a"], 3)


def test_another_applications_hash_is_left_alone(fleet: Fleet, client: Any) -> None:
    """Neither read nor added to."""
    client.hset(PODS, "user:1", "anna")
    with pytest.raises(FleetError, match=f"{PODS} holds a hash that probekit has not written"):
        fleet.status()
