"""What one worker does with the switch, all others see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from probekit import Drain, Observer
from tests.waiting import wait_until
from tests.web._asking import HeldClock

from ._twins import seen_by, twins
from ._workers import Worker, agree, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probekit import Probes

    Making = Callable[..., Probes]
    Starting = Callable[..., Worker]


# -- several processes ------------------------------------------------------------------------


def test_a_drain_its_renewal_and_its_end_reach_all(worker: Starting) -> None:
    """Whichever worker is told; why, by whom and since when stand in all."""
    one, two, three = worker(), worker(), worker()
    one.ask("drain", reason="deploy", by="anna")
    agree("deploy", one, two, three)
    since = one.ask("since")
    time.sleep(0.002)  # the clocks go on
    two.ask("drain", reason="still", by="ben")
    agree("still", one, two, three)
    assert [each.ask("since") for each in (one, two, three)] == [since] * 3
    three.ask("undrain")
    agree(None, one, two, three)


def test_a_worker_that_comes_later_knows_as_much(worker: Starting) -> None:
    """Also when the one that was told has been killed."""
    one = worker()
    one.ask("drain", reason="deploy", lease=60)
    one.kill()
    assert worker().ask("reason") == "deploy"


def test_a_lease_ends_in_all_at_the_same_moment(worker: Starting) -> None:
    """The one that came later takes what is left of it, and the end is told to nobody."""
    one, two = worker(), worker()
    began = time.monotonic()
    one.ask("drain", reason="deploy", lease=0.8)
    assert two.ask("reason") == "deploy"
    three = worker()
    assert three.ask("reason") == "deploy" or time.monotonic() > began + 0.8
    while any(each.ask("reason") for each in (one, two, three)):
        assert time.monotonic() < began + 10
    assert time.monotonic() - began >= 0.8


def test_a_worker_that_has_not_looked_can_end_it(worker: Starting) -> None:
    """A DELETE may meet a worker that nobody has asked since the POST."""
    one, two = worker(), worker()
    two.ask("reason")
    one.ask("drain", reason="deploy")
    two.ask("undrain")
    agree(None, one)


def test_a_worker_that_has_not_looked_can_renew_it(worker: Starting) -> None:
    """The drain began with the first POST, whichever workers the POSTs met."""
    one, two = worker(), worker()
    two.ask("reason")
    one.ask("drain", reason="deploy")
    since = one.ask("since")
    time.sleep(0.002)  # the clocks go on
    two.ask("drain", reason="still")
    assert two.ask("since") == since


def test_two_who_turn_it_at_once_agree_afterwards(worker: Starting) -> None:
    """The last word counts, for all; POST against POST, and POST against DELETE."""
    workers = [worker() for _ in range(3)]
    for turn in range(30):
        agree(None, *workers)
        workers[0].send("drain", reason=f"a{turn}")
        if turn % 2:
            workers[1].send("drain", reason=f"b{turn}")
        else:
            workers[1].send("undrain")
        workers[0].receive(), workers[1].receive()
        wait_until(
            lambda: len({each.ask("reason") for each in workers}) == 1, "they agree", patience=0.5
        )
        workers[2].ask("undrain")


def test_what_a_server_shares_no_other_server_sees(runtime: Path) -> None:
    """Two that somebody starts side by side have different masters."""
    with (
        Worker(runtime, PROBEKIT_SCOPE="pod") as one,
        Worker(runtime, PROBEKIT_SCOPE="pod") as other,
    ):
        one.ask("drain", reason="deploy")
        assert (one.ask("reason"), other.ask("reason")) == ("deploy", None)
        assert one.ask("path")[0] != other.ask("path")[0]


def test_a_container_that_is_started_anew_is_open(runtime: Path) -> None:
    """Its first process has the same number, and may have the same namespace."""
    alone = namespaces("pid")
    for _ in range(2):
        with Worker(runtime, before=alone) as container:
            assert container.ask("reason") is None
            container.ask("drain", reason="deploy")
            assert container.ask("path")[0] is not None
            container.kill()


# -- several in one process -------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("app", "app"),
        ("app", "other"),
        ("pair", "pair", "pair-2", "pair-3"),
        ("trio-2", "trio", "trio", "trio"),
        ("shop/api", "shop/api"),
        ("ü", "ü"),
        ("shop.api", "shop api"),
        ("ö", "ß"),
        ("x" * 40, "x" * 40),
        ("x" * 50, "x" * 49),
    ],
)
def test_two_applications_of_one_process_share_nothing(
    names: tuple[str, ...], shared: Making
) -> None:
    """Whatever they are called, the same even."""
    one, *others = (shared(name=name) for name in names)
    for each in others:
        one.drain(reason="deploy")
        one.service.pod.announce(one.service._line())
        assert seen_by(each) is None
        assert each.service.pod.workers() == []
        assert one.service.pod.path == each.service.pod.path
        one = each


def test_of_two_with_the_same_name_each_meets_its_own_in_the_next_worker(
    worker: Starting,
) -> None:
    """All workers load the same code, so they count alike."""
    one, other = worker(), worker()
    one.ask("drain", reason="deploy")
    one.ask("another")
    other.ask("another")
    one.ask("drain", reason="another")
    agree("another", other)
    assert sorted(other.ask("files")) == ["app-2.drain.json", "app.drain.json"]


def test_the_end_is_seen_by_the_one_who_has_not_looked_since_it_began(shared: Making) -> None:
    """Nobody may be left behind that drains for ever."""
    one, other = twins(shared)
    assert seen_by(one) is None
    one.drain(reason="deploy")
    assert seen_by(other) == "deploy"
    other.undrain()
    assert seen_by(one) is None


def test_a_change_is_told_once_and_by_whoever_sees_it(shared: Making) -> None:
    """Observers of every worker hear of a drain that another one began, and of its end."""

    class Heard(Observer):
        def __init__(self) -> None:
            self.drains: list[str | None] = []

        def on_drain(self, drain: Drain | None) -> None:
            self.drains.append(None if drain is None else drain.reason)

    heard = Heard()
    one, other = twins(shared)
    other.observe(heard)
    one.drain(reason="deploy")
    for _ in range(3):
        seen_by(other)
    one.undrain()
    for _ in range(3):
        seen_by(other)
    assert heard.drains == ["deploy", None]


def test_a_look_that_meets_another_in_the_middle_tells_once(shared: Making) -> None:
    """The keeper's thread and a probe look at the same moment."""
    told: list[object] = []

    class Heard(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            told.append(drain)

    clock = HeldClock()
    one, other = twins(shared, clock=clock)
    other.observe(Heard())
    switch = other.service.drain
    for moment in range(4):
        one.drain(reason=f"{moment}")
        told.clear()
        clock.now += 1
        readings = 0

        def between() -> None:
            nonlocal readings
            readings += 1
            if readings == moment + 1:  # noqa: B023 - called within this turn
                clock.disturbance = lambda: None
                switch.look()

        clock.disturbance = between
        switch.look()
        clock.disturbance = lambda: None
        assert [other.draining] == told


# -- clocks -----------------------------------------------------------------------------------


def test_a_wall_clock_that_jumps_neither_prolongs_nor_ends_a_lease(shared: Making) -> None:
    """The deadline is the machine's monotonic clock's, which all its processes have in common."""

    class Jumping(HeldClock):
        offset = 0.0

        def time(self) -> float:
            return super().time() + self.offset

    clock, jumped = HeldClock(), Jumping()
    one, other = twins(shared, clock=clock, others=jumped)
    jumped.offset = 1e6
    one.drain(reason="deploy", lease=10)
    assert seen_by(other) == "deploy"
    jumped.offset = -1e6
    clock.now = jumped.now = jumped.now + 9.9
    assert (seen_by(one), seen_by(other)) == ("deploy", "deploy")
    clock.now = jumped.now = jumped.now + 0.2
    assert (seen_by(one), seen_by(other)) == (None, None)


def test_a_lease_that_is_over_drains_nobody_who_comes_later(shared: Making) -> None:
    """Its file may still lie there."""
    clock = HeldClock()
    one, other = twins(shared, clock=clock)
    one.drain(lease=1)
    clock.now += 1
    assert seen_by(other) is None
    other.undrain()
    assert seen_by(one) is None
