from __future__ import annotations

import gc
import math
import subprocess
import sys
import textwrap
import time
import weakref
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest

from probekit import CheckResult, ConfigurationError, Degraded, Probe, Probes, Status, Unhealthy
from probekit.checks.worker import Level, Progress
from probekit.observe.prometheus import PrometheusObserver, instrument
from tests.waiting import wait_until

from ._exposition import ACCEPTS, OPENMETRICS, FakeClock, families, parse, sample, samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

pytestmark = pytest.mark.anyio

ODD_NAME = 'a "quoted" \\ name, müde'


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    """An empty registry."""
    return CollectorRegistry()


@pytest.fixture
def probes(clock: FakeClock) -> Probes:
    """An application by that clock."""
    return Probes(clock=clock, observers=[])


@pytest.fixture
def metrics(probes: Probes, registry: CollectorRegistry) -> PrometheusObserver:
    """Its metrics in that registry."""
    return instrument(probes, registry=registry)


def statuses(metrics: PrometheusObserver, check: str) -> dict[str, float]:
    """Return the state set of a check."""
    found = samples(families(metrics), "probekit_check_status", check=check, probe="readiness")
    return {labels[-1]: value for labels, value in found.items()}


def outcomes(metrics: PrometheusObserver, check: str) -> dict[str, float]:
    """Return the outcomes that a check has had, and how often."""
    found = samples(families(metrics), "probekit_check_runs_total", check=check)
    return {labels[1]: value for labels, value in found.items() if value}


def durations(metrics: PrometheusObserver, check: str) -> float | None:
    """Return how many durations of a check were observed."""
    return sample(families(metrics), "probekit_check_duration_seconds_count", check=check)


async def ask(probes: Probes, clock: FakeClock) -> None:
    """Ask for readiness when no earlier result will do."""
    clock.now += 10
    await probes.report()


class Switch:
    """A check that does what its switch says."""

    name = "switch"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = anyio.Event()
        self.hangs.set()

    async def __call__(self) -> None:
        await self.hangs.wait()
        if self.error is not None:
            raise self.error


# -- the exposition ---------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [*ACCEPTS, "", "*/*"])
async def test_every_metric_is_valid_in_the_format_asked_for(
    probes: Probes, metrics: PrometheusObserver, accept: str
) -> None:
    """Both parsers of the client take the exposition, odd names included."""

    @probes.readiness(name=ODD_NAME)
    async def quoted() -> None: ...

    await probes.report()
    probes.service.answered(Probe.READINESS, 200)
    content_type, body = metrics.render(accept)
    assert ("openmetrics" in content_type) is ("openmetrics" in accept)
    found = parse(content_type, body)
    assert {metric.name.removesuffix("_total") for metric in found if metric.samples} >= {
        "probekit_check_status",
        "probekit_check_duration_seconds",
        "probekit_check_runs",
        "probekit_probe_requests",
        "probekit_draining",
        "probekit_in_flight",
        "probekit_event_loop_lag_seconds",
    }
    assert sample(found, "probekit_check_status", check=ODD_NAME, status="healthy") == 1


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "text/plain; version=\x00",
        ",;,=",
        "\xff" * 9999,
    ],
)
async def test_a_nonsensical_accept_header_fails_no_scrape(
    metrics: PrometheusObserver, accept: str
) -> None:
    """It gets a format that is valid, whatever the client makes of it."""
    assert sample(families(metrics, accept), "probekit_draining") == 0


async def test_names_follow_the_conventions_of_prometheus(
    probes: Probes, metrics: PrometheusObserver
) -> None:
    """Counters end in _total and nothing else does; units are base units; each has a help text."""

    @probes.readiness
    async def database() -> None: ...

    await probes.report()
    for metric in families(metrics):
        assert metric.name.startswith("probekit_")
        assert metric.documentation.endswith(".")
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
        assert not any(unit in metric.name for unit in ("milli", "_ms", "minute", metric.type))
        assert ("seconds" in metric.name) is (metric.name.endswith("_seconds"))
        assert all(each.labels["application"] == "app" for each in metric.samples)


# -- checks -----------------------------------------------------------------------------------


async def test_the_status_of_a_check_is_one_of_a_set(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """The current status is 1 and every other is 0, from before the first run on."""
    switch = Switch()
    probes.readiness(switch)
    nothing = dict.fromkeys(("healthy", "degraded", "unknown", "unhealthy"), 0.0)
    assert statuses(metrics, "switch") == {**nothing, "unknown": 1}
    for error, status in (
        (None, "healthy"),
        (Degraded("slow"), "degraded"),
        (Unhealthy("gone"), "unhealthy"),
    ):
        switch.error = error
        await ask(probes, clock)
        assert statuses(metrics, "switch") == {**nothing, status: 1}


async def test_a_scrape_runs_no_check(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """Only probes run checks, however old the results are."""
    runs: list[float] = []

    @probes.readiness
    async def database() -> None:
        runs.append(clock.now)

    await probes.report()
    for _ in range(3):
        clock.now += 1000
        metrics.render()
    assert len(runs) == 1


async def test_a_background_result_that_is_too_old_is_shown_as_unknown(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """Nothing happens when a result goes stale; the scrape notices."""
    ran = anyio.Event()

    @probes.readiness(interval=10, initial_delay=0, stale_after=30)
    async def database() -> None:
        ran.set()

    async with probes.lifespan():
        await ran.wait()
        await anyio.wait_all_tasks_blocked()
        assert statuses(metrics, "database")["healthy"] == 1
        clock.now += 31
        assert statuses(metrics, "database")["unknown"] == 1
        assert statuses(metrics, "database")["healthy"] == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "healthy"),
        (Degraded("slow"), "degraded"),
        (Unhealthy("gone"), "unhealthy"),
        (ValueError("broken"), "unhealthy"),
    ],
)
async def test_runs_are_counted_by_what_came_of_them(
    probes: Probes,
    metrics: PrometheusObserver,
    clock: FakeClock,
    error: Exception | None,
    outcome: str,
) -> None:
    """The outcome of each run is counted, and its duration observed."""
    switch = Switch()
    switch.error = error
    probes.readiness(switch)
    for _ in range(3):
        await ask(probes, clock)
    assert outcomes(metrics, "switch") == {outcome: 3}
    assert durations(metrics, "switch") == 3


async def test_a_failure_below_the_threshold_is_counted_as_one(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """The thresholds decide the status, not what is counted."""
    switch = Switch()
    probes.readiness(switch, failure_threshold=3, success_threshold=2)
    await ask(probes, clock)
    await ask(probes, clock)
    switch.error = Unhealthy("gone")
    await ask(probes, clock)
    assert statuses(metrics, "switch")["healthy"] == 1
    assert outcomes(metrics, "switch") == {"healthy": 2, "unhealthy": 1}


async def test_a_run_that_times_out_is_counted_at_once_and_measured_when_it_ends(
    registry: CollectorRegistry,
) -> None:
    """Nobody knows how long a run takes that goes on; the late result counts too."""
    probes = Probes(observers=[])
    metrics = instrument(probes, registry=registry)
    switch = Switch()
    switch.hangs = anyio.Event()
    probes.readiness(switch, timeout=0.02)
    await probes.report()
    assert outcomes(metrics, "switch") == {"timeout": 1}
    assert durations(metrics, "switch") is None
    switch.hangs.set()
    await anyio.wait_all_tasks_blocked()
    assert durations(metrics, "switch") == 1
    assert outcomes(metrics, "switch") == {"timeout": 1, "healthy": 1}


@pytest.mark.parametrize("known", [True, False])
async def test_a_run_that_says_nothing_is_counted_as_that(
    probes: Probes, metrics: PrometheusObserver, known: bool
) -> None:
    """It is neither a timeout nor a run of the earlier result, if there is one."""
    probes.readiness(Switch())
    before = CheckResult(
        name="switch",
        probe=Probe.READINESS,
        status=Status.UNHEALTHY if known else Status.UNKNOWN,
        failures=1 if known else 0,
        duration=0.1 if known else None,
    )
    metrics.on_result(before._replace(stale=known, inconclusive=True), None)
    metrics.on_result(before._replace(stale=known, inconclusive=True), TimeoutError())
    assert outcomes(metrics, "switch") == {"inconclusive": 2}
    assert not durations(metrics, "switch")


async def test_a_kept_result_hides_no_failed_run(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """With on_error="keep" the status stays, the run is counted, and no duration is made up."""
    switch = Switch()
    probes.readiness(switch, on_error="keep", stale_after=60)
    await ask(probes, clock)
    switch.error = OSError("no route")
    await ask(probes, clock)
    assert statuses(metrics, "switch")["healthy"] == 1
    assert outcomes(metrics, "switch") == {"healthy": 1, "unhealthy": 1}
    assert durations(metrics, "switch") == 1


async def test_outcomes_that_never_came_are_shown_as_zero(
    probes: Probes, metrics: PrometheusObserver
) -> None:
    """The first failure is an increase that Prometheus can see."""
    probes.readiness(Switch())
    found = families(metrics)
    assert set(samples(found, "probekit_check_runs_total").values()) == {0}
    assert len(samples(found, "probekit_check_runs_total")) == 5
    assert set(samples(found, "probekit_probe_requests_total").values()) == {0}


# -- the process ------------------------------------------------------------------------------


async def test_the_numbers_of_a_check_are_shown(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """Those in its detail, one level deep; what it says no more is not shown."""
    detail: dict[str, object] = {"rate": 0.5, "full": True, "loops": {"a": 2}, "why": "so"}

    @probes.readiness
    async def jobs() -> dict[str, object]:
        return detail

    def shown() -> dict[str, float]:
        found = samples(families(metrics), "probekit_check_number", check="jobs")
        return {labels[1]: value for labels, value in found.items()}

    assert shown() == {}
    await ask(probes, clock)
    assert shown() == {"rate": 0.5, "full": 1.0, "loops.a": 2.0}
    del detail["rate"]
    detail["deeper"] = {"and": {"deeper": 1}}
    await ask(probes, clock)
    assert shown() == {"full": 1.0, "loops.a": 2.0}
    detail |= {f"number {i}": i for i in range(100)}
    await ask(probes, clock)
    assert len(shown()) == 20


async def test_a_number_that_no_gauge_can_hold_is_left_out(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Every scrape brings everything else up to date all the same."""
    probes.readiness(Level(lambda: 10**400, maximum=10, name="huge"))
    probes.readiness(lambda: {"depth": 3}, name="after it")
    await ask(probes, clock)
    probes.drain()
    found = families(metrics)
    assert sample(found, "probekit_check_number", check="huge", key="value") is None
    assert sample(found, "probekit_check_number", check="huge", key="stale") == 0
    assert sample(found, "probekit_check_number", check="after it", key="depth") == 3
    assert sample(found, "probekit_draining") == 1
    assert "not up to date" not in caplog.text


async def test_a_number_that_is_gone_is_none_where_several_processes_write(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock, tmp_path: Path
) -> None:
    """There the client of Prometheus takes nothing away."""
    detail = {"left": 1}
    probes.readiness(lambda: detail, name="jobs")
    await ask(probes, clock)
    metrics.refresh()
    metrics._directory = tmp_path
    detail.clear()
    await ask(probes, clock)
    metrics.refresh()
    [left] = samples([*metrics.collect()], "probekit_check_number", check="jobs").values()
    assert math.isnan(left)


async def test_a_worker_shows_what_it_has_done(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """How many jobs, of them how many failed, and how many in a row."""
    progress = Progress()
    probes.readiness(progress)
    for _ in range(3):
        progress.success()
    progress.failure()
    await ask(probes, clock)
    found = samples(families(metrics), "probekit_check_number", check="progress")
    shown = {labels[1]: value for labels, value in found.items()}
    assert shown["successes"] == 3
    assert shown["failures"] == shown["failures_in_a_row"] == 1
    assert shown["rate"] == 0.75


def test_where_nobody_probes_the_numbers_of_a_worker_need_an_interval(
    registry: CollectorRegistry,
) -> None:
    """In the background it runs by itself and the gauges move; the other stands still."""
    probes = Probes(drain_delay=0, observers=[])
    metrics = instrument(probes, registry=registry)
    progress = Progress()
    probes.readiness(progress, name="moving", interval=0.1, timeout=0.1, critical=False)
    probes.readiness(progress, name="still", critical=False)

    def successes(check: str) -> float | None:
        return sample(families(metrics), "probekit_check_number", check=check, key="successes")

    with probes.serve(port=0):
        progress.success()
        wait_until(lambda: successes("moving") == 1, "the gauge shows the first job")
        progress.success()
        wait_until(lambda: successes("moving") == 2, "the gauge shows the second job")
        assert successes("still") is None


async def test_answers_are_counted_by_probe_and_code(
    probes: Probes, metrics: PrometheusObserver
) -> None:
    """What the platform was told can be read off."""
    for probe, code in (
        (Probe.READINESS, 200),
        (Probe.READINESS, 503),
        (Probe.READINESS, 503),
        (Probe.LIVENESS, 405),
    ):
        probes.service.answered(probe, code)
    found = samples(families(metrics), "probekit_probe_requests_total", application="app")
    assert {labels: value for labels, value in found.items() if value} == {
        ("200", "readiness"): 1,
        ("503", "readiness"): 2,
        ("405", "liveness"): 1,
    }


async def test_a_drain_shows_until_it_ends(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """A drain that is ended, and one whose lease is over, are gone at the next scrape."""

    def draining() -> float | None:
        return sample(families(metrics), "probekit_draining")

    assert draining() == 0
    probes.drain(reason="deploy")
    assert draining() == 1
    probes.undrain()
    assert draining() == 0
    probes.drain(lease=60)
    assert draining() == 1
    clock.now += 61
    assert draining() == 0


async def test_what_is_in_flight_shows_by_kind(probes: Probes, metrics: PrometheusObserver) -> None:
    """The counts are those of the moment of the scrape."""
    traffic = probes.service.traffic
    traffic.requests.update({n: ({}, 0.0) for n in range(3)})
    traffic.websockets.update({0: ({}, 0.0)})
    found = samples(families(metrics), "probekit_in_flight", application="app")
    assert found == {("requests",): 3, ("websockets",): 1, ("jobs",): 0}
    traffic.requests.clear()
    assert sample(families(metrics), "probekit_in_flight", kind="requests") == 0


async def test_a_late_loop_shows(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """The lag is what `Probes` measures at the moment of the scrape."""
    async with probes.lifespan():
        clock.now += 5
        assert probes.loop_lag > 4
        assert sample(families(metrics), "probekit_event_loop_lag_seconds") == probes.loop_lag


# -- registries -------------------------------------------------------------------------------


async def test_instrumenting_again_gives_the_same_observer(
    probes: Probes, metrics: PrometheusObserver, registry: CollectorRegistry
) -> None:
    """A middleware stack that is built again counts nothing twice."""
    assert instrument(probes, registry=registry) is metrics
    probes.service.answered(Probe.READINESS, 200)
    found = families(metrics)
    assert sample(found, "probekit_probe_requests_total", probe="readiness", code="200") == 1


async def test_one_registry_shows_several_applications(registry: CollectorRegistry) -> None:
    """They are told apart by their names, in metrics that appear once."""
    api, admin = Probes(name="api", observers=[]), Probes(name="admin", observers=[])
    metrics = instrument(api, registry=registry)
    instrument(admin, registry=registry)
    admin.drain()
    content_type, body = metrics.render(OPENMETRICS)
    found = samples(parse(content_type, body), "probekit_draining")
    assert found == {("api",): 0, ("admin",): 1}
    assert body.count(b"# TYPE probekit_draining ") == 1


async def test_one_application_shows_in_several_registries(
    probes: Probes, metrics: PrometheusObserver
) -> None:
    """Each registry has an observer of its own."""
    other = instrument(probes, registry=CollectorRegistry())
    probes.service.answered(Probe.LIVENESS, 200)
    for each in (metrics, other):
        assert sample(families(each), "probekit_probe_requests_total", probe="liveness", code="200")


async def test_two_applications_of_one_name_are_refused(
    probes: Probes, metrics: PrometheusObserver, registry: CollectorRegistry
) -> None:
    """The error names the name and the two ways out, and the first application stays as it was."""
    with pytest.raises(ConfigurationError, match=r"name 'app' already; .*name=.* registry="):
        instrument(Probes(observers=[]), registry=registry)
    assert instrument(probes, registry=registry) is metrics


async def test_an_application_that_is_gone_frees_its_name(registry: CollectorRegistry) -> None:
    """Reloaded modules and test suites make one Probes after the other, cycles among them."""
    for generation in range(3):
        probes = Probes(observers=[])
        probes.readiness(lambda: None, name=f"check-{generation}")
        probes.__dict__["application"] = probes
        metrics = instrument(probes, registry=registry)
        shown = samples(families(metrics), "probekit_check_status", status="unknown")
        assert {check for _, check, _ in shown} == {f"check-{generation}"}
        assert metrics.probes is probes
        del probes
    gc.collect()
    assert metrics.probes is None
    metrics.refresh()
    assert families(metrics) == []


async def test_neither_application_nor_registry_is_kept_alive() -> None:
    """Whoever drops both has dropped them."""
    probes, registry = Probes(observers=[]), CollectorRegistry()
    instrument(probes, registry=registry)
    probes_gone, registry_gone = weakref.ref(probes), weakref.ref(registry)
    del probes, registry
    gc.collect()
    assert probes_gone() is None
    assert registry_gone() is None


async def test_a_registry_with_metrics_of_the_same_names_is_refused(
    probes: Probes, registry: CollectorRegistry
) -> None:
    """The error says what to pass instead."""
    Counter("probekit_check_runs", "Somebody else's.", registry=registry)
    with pytest.raises(ConfigurationError, match=r"probekit_check_runs.*registry=Collector"):
        instrument(probes, registry=registry)


def test_the_registry_of_the_application_is_enough() -> None:
    """Without another word the metrics are in the client's global registry, beside all others."""
    probes = Probes(name="global", observers=[])
    metrics = instrument(probes)
    probes.drain()
    body = generate_latest(REGISTRY)
    assert b'probekit_draining{application="global"} 1.0' in body
    assert b"python_info" in metrics.render()[1]


async def test_a_scrape_of_some_names_is_fresh_too(
    probes: Probes, metrics: PrometheusObserver, registry: CollectorRegistry
) -> None:
    """``/metrics?name[]=probekit_draining`` asks for one metric alone."""
    probes.drain()
    some = registry.restricted_registry(["probekit_draining"])
    found: list[Metric] = list(some.collect())
    assert [metric.name for metric in found] == ["probekit_draining"]
    assert sample(found, "probekit_draining") == 1


async def test_a_failure_of_one_application_costs_the_others_no_scrape(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and its last values stand."""
    clock = FakeClock()
    broken = Probes(name="broken", clock=clock, observers=[])
    sound = Probes(name="sound", observers=[])
    instrument(broken, registry=registry)
    metrics = instrument(sound, registry=registry)
    clock.broken = True
    sound.drain()
    assert sample(families(metrics), "probekit_draining", application="sound") == 1
    assert "not up to date" in caplog.text
    assert "no clock" in caplog.text


# -- where and when ---------------------------------------------------------------------------


async def test_another_thread_may_scrape_while_checks_run(
    probes: Probes, metrics: PrometheusObserver, clock: FakeClock
) -> None:
    """The client's own server answers from a thread."""
    probes.readiness(Switch())
    done = False

    def scrape() -> None:
        while not done:
            families(metrics)
            time.sleep(0.001)  # nobody scrapes without pause, and the loop wants its turn

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, scrape)
        try:
            for _ in range(100):
                await ask(probes, clock)
                await anyio.lowlevel.checkpoint()
        finally:
            done = True  # or the thread would disturb every test that follows
    assert outcomes(metrics, "switch") == {"healthy": 100}


def test_counting_an_answer_is_cheap(probes: Probes, metrics: PrometheusObserver) -> None:
    """It is paid for every probe request; the bound leaves room for slow machines."""
    assert best_of(lambda: metrics.on_answer(Probe.READINESS, 200)) < 10e-6


def best_of(call: Callable[[], None], times: int = 1000) -> float:
    """Return the seconds that a call takes when nothing disturbs it."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            call()
        best = min(best, (time.perf_counter() - start) / times)
    return best


def test_without_its_extra_the_module_names_the_install_line() -> None:
    """The error is one line to copy."""
    script = (
        "import sys; sys.modules['prometheus_client'] = None\nimport probekit.observe.prometheus"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "probekit.observe.prometheus needs prometheus-client" in ended.stderr
    assert "pip install 'probekit-health[prometheus]'" in ended.stderr


def test_a_forked_child_waits_for_no_scrape_of_its_parent() -> None:
    """Its locks are its own; what was counted goes on, as the client has it."""
    program = """
        import os, sys, threading
        from prometheus_client import CollectorRegistry
        from probekit import Probe, Probes
        from probekit.observe import prometheus
        probes, registry = Probes(observers=[]), CollectorRegistry()
        metrics = prometheus.instrument(probes, registry=registry)
        metrics.on_answer(Probe.READINESS, 200)
        entered, leave = threading.Event(), threading.Event()

        def scrape():
            with metrics._lock, prometheus._exporters.lock:
                entered.set()
                leave.wait(10)

        threading.Thread(target=scrape, daemon=True).start()
        entered.wait(10)
        pid = os.fork()
        if pid == 0:
            assert prometheus.instrument(probes, registry=registry) is metrics
            metrics.on_answer(Probe.READINESS, 200)
            _, text = metrics.render()
            assert b'probe="readiness"} 2.0' in text, text.decode()
            sys.exit(0)  # in order, so that what was covered is written down
        assert os.waitpid(pid, 0)[1] == 0
        leave.set()
    """
    code = textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stderr) == (0, "")
