"""What counts as evidence that the probers know and that the traffic has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probekit import Unhealthy
from probekit._lifecycle.evidence import PROBERS_TOLD_APART, Evidence
from probekit._lifecycle.plan import Plan
from probekit._lifecycle.traffic import Traffic
from probekit.asgi import ProbeMiddleware, probe_app
from tests.doors._apps import hello
from tests.fake_time import FakeClock
from tests.web._asking import HeldClock, ask, make_probes

if TYPE_CHECKING:
    from collections.abc import Iterable

QUIET = Plan(5.0, "argument drain_delay", "quiet", seen_503=2, quiet_for=1.0, drain_max=15.0)
"""Two 503s or 5 s, then one second of silence, and 15 s at most."""


def evidence(
    plan: Plan = QUIET, *, seen: Iterable[str | None] = (), latest: float | None = None
) -> Evidence:
    """Return what these probers and a last request so many seconds ago leave behind."""
    clock = FakeClock()
    traffic = Traffic(clock.monotonic)
    traffic.counted = True
    if latest is not None:
        traffic.latest = clock.monotonic()
        clock.advance(latest)
    evidence = Evidence(plan=plan, traffic=traffic)
    for prober in seen:
        evidence.saw_503(prober)
    return evidence


@pytest.mark.parametrize(
    ("seen", "elapsed", "told"),
    [
        ([], 0.0, False),
        ([], 4.9, False),
        ([], 5.0, True),
        (["a"], 4.9, False),
        (["a", "a"], 0.0, True),
        (["a", "b"], 4.9, False),
        (["a", "b", "a"], 0.0, True),
        ([None, None], 0.0, True),
        (["a", None], 4.9, False),
    ],
)
def test_the_probers_know_when(seen: list[str | None], elapsed: float, told: bool) -> None:
    """One of them has seen enough, or the delay has passed; two halves are no whole."""
    assert evidence(seen=seen).told(elapsed) is told


@pytest.mark.parametrize(
    ("latest", "elapsed", "quiet"),
    [
        (None, 0.0, False),
        (None, 0.9, False),
        (None, 1.0, True),
        (0.0, 9.0, False),
        (0.9, 9.0, False),
        (1.0, 9.0, True),
        (60.0, 0.9, False),
        (60.0, 1.0, True),
    ],
)
def test_it_is_quiet_when(latest: float | None, elapsed: float, quiet: bool) -> None:
    """No request has come for long enough, and silence from before the signal does not count."""
    assert evidence(latest=latest).quiet(elapsed) is quiet


@pytest.mark.parametrize(
    ("seen", "latest", "elapsed", "enough"),
    [
        ([], None, 4.9, False),
        ([], None, 5.0, True),
        ([], 0.5, 5.0, False),
        ([], 0.5, 14.9, False),
        ([], 0.0, 15.0, True),
        (["a", "a"], None, 0.9, False),
        (["a", "a"], None, 1.0, True),
        (["a", "a"], 0.5, 4.0, False),
        (["a", "a"], 1.0, 4.0, True),
        (["a", "b"], 3.0, 4.0, False),
    ],
)
def test_it_is_enough_when(
    seen: list[str | None], latest: float | None, elapsed: float, enough: bool
) -> None:
    """The probers know and it is quiet, or the limit is reached."""
    assert evidence(seen=seen, latest=latest).enough(elapsed) is enough


@pytest.mark.parametrize(("elapsed", "enough"), [(0.0, False), (4.9, False), (5.0, True)])
@pytest.mark.parametrize("latest", [None, 0.0, 60.0])
@pytest.mark.parametrize("seen", [[], ["a"] * 9])
def test_with_a_fixed_delay_no_evidence_matters(
    seen: list[str | None], latest: float | None, elapsed: float, enough: bool
) -> None:
    """Neither probers nor traffic shorten or prolong it."""
    found = evidence(Plan(5.0, "argument drain_delay"), seen=seen, latest=latest)
    assert found.enough(elapsed) is enough


def test_a_clock_that_goes_backwards_makes_no_silence() -> None:
    """A request that seems to come from the future came just now."""
    clock = FakeClock()
    traffic = Traffic(clock.monotonic)
    traffic.latest = clock.monotonic() + 10
    assert traffic.since_latest() == 0.0
    assert not Evidence(plan=QUIET, traffic=traffic).quiet(9.0)


def test_many_probers_cost_a_bounded_memory() -> None:
    """Those that come too late are counted together, and those known before go on."""
    found = evidence(seen=[f"10.0.{n // 256}.{n % 256}" for n in range(5000)])
    assert found.seen_503 == 5000 - PROBERS_TOLD_APART
    found.forget()
    for n in range(PROBERS_TOLD_APART):
        found.saw_503(str(n))
    for _ in range(3):
        found.saw_503("0")
    assert found.seen_503 == 4


def test_an_ended_drain_leaves_no_evidence() -> None:
    """The next one begins with nobody told."""
    found = evidence(seen=["a"] * 7)
    assert found.seen_503 == 7
    found.forget()
    assert found.seen_503 == 0
    assert not found.told(0)


@pytest.mark.parametrize(
    ("seen", "latest", "said"),
    [
        ([], None, "no prober has seen 503, no request ever came"),
        (["a", "b"], 0.0, "a prober has seen 503 once, the last request came 0.0 s ago"),
        (["a", "a"], 1.26, "a prober has seen 503 twice, the last request came 1.3 s ago"),
    ],
)
def test_it_says_what_was_seen(seen: list[str | None], latest: float | None, said: str) -> None:
    """In the words of the log."""
    assert str(evidence(seen=seen, latest=latest)) == said


# -- through the doors --------------------------------------------------------------------------


async def seen_503(app: Any) -> int:
    """Return what the administration says."""
    seen: int = (await ask(app, "/admin/drain")).json()["seen_503"]
    return seen


@pytest.mark.anyio
async def test_a_prober_is_an_address() -> None:
    """Its ports change, and which of the forms it asks for does not matter."""
    probes = make_probes()
    app = probe_app(probes)
    probes.drain()
    for port in range(3):
        await ask(app, "/readyz", client=("10.0.0.1", port))
    await ask(app, "/readyz", "HEAD", client=("10.0.0.1", 9))
    await ask(app, "/readyz", client=("10.0.0.2", 1))
    await ask(app, "/readyz", client=None)
    assert await seen_503(app) == 4
    probes.undrain()
    assert await seen_503(app) == 0


@pytest.mark.anyio
async def test_only_unready_answers_of_a_drain_count() -> None:
    """Neither liveness, nor a refusal, nor a failure from before the drain says that it drains."""
    probes = make_probes()
    app = probe_app(probes, allow=["127.0.0.1"])

    @probes.readiness
    async def database() -> None:
        raise Unhealthy

    assert (await ask(app, "/readyz")).status == 503
    assert await seen_503(app) == 0
    probes.drain()
    await ask(app, "/healthz")
    await ask(app, "/startupz")
    await ask(app, "/readyz", "POST")
    await ask(app, "/readyz", client=("203.0.113.7", 1))
    assert await seen_503(app) == 0
    await ask(app, "/readyz")
    assert await seen_503(app) == 1


@pytest.mark.anyio
async def test_a_look_at_one_check_does_not_tell_of_the_drain() -> None:
    """Its answer leaves the drain out of account, so whoever got it knows nothing."""
    probes = make_probes()
    app = probe_app(probes)

    @probes.readiness
    async def database() -> None:
        raise Unhealthy

    probes.drain()
    await ask(app, "/readyz/database")
    assert await seen_503(app) == 0


@pytest.mark.anyio
async def test_the_administration_tells_when_the_last_request_came() -> None:
    """In seconds with one digit, null before the first; probes are no requests."""
    clock = HeldClock()
    app = ProbeMiddleware(hello, probes=make_probes(clock))
    await ask(app, "/readyz")
    assert (await ask(app, "/admin/drain")).json()["last_request"] is None
    await ask(app, "/")
    clock.now += 2.34
    await ask(app, "/readyz")
    assert (await ask(app, "/admin/drain")).json()["last_request"] == 2.3
