"""Who is told of what, in which words, and that a listener harms nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from probekit import (
    CheckResult,
    ConfigurationError,
    Degraded,
    Drain,
    Observer,
    Probe,
    Probes,
    Report,
    Status,
    Unhealthy,
)
from probekit.observers import LoggingObserver
from tests.core.helpers import Recorder, Script, ask

if TYPE_CHECKING:
    from tests.fake_time import FakeClock

pytestmark = pytest.mark.anyio

Lines = list[tuple[str, str]]


@pytest.fixture
def logging_probes(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> Probes:
    """Probes with the observer that is there by default."""
    caplog.set_level(logging.INFO, "probekit")
    return Probes(clock=clock, drain_delay=0)


def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Return what was logged since the last call."""
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert all(record.name == "probekit" for record in caplog.records)
    caplog.clear()
    return found


# -- the logging observer ---------------------------------------------------------------------


async def test_what_goes_well_is_not_logged(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """The first good run and the first good report were to be expected."""
    logging_probes.readiness(Script(None), max_age=0)
    for _ in range(3):
        assert (await logging_probes.report()).passing
    assert lines(caplog) == []


async def test_a_failure_and_a_recovery_are_logged_once(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """The check's change, and the report's with everything that fails."""
    down = Unhealthy("no rows")
    logging_probes.readiness(Script(None, down, down, None), name="database", max_age=0)
    logging_probes.readiness(Script(None, OSError("secret")), name="cache", critical=False)
    for _ in range(3):
        await logging_probes.report()
    assert lines(caplog) == [
        ("WARNING", "check 'database' of readiness: healthy -> unhealthy: no rows"),
        ("WARNING", "readiness: healthy -> unhealthy; database: unhealthy (no rows)"),
    ]
    await anyio.sleep(2)
    await logging_probes.report()
    *changes, report = lines(caplog)
    assert sorted(changes) == [
        ("INFO", "check 'database' of readiness: unhealthy -> healthy"),
        ("WARNING", "check 'cache' of readiness: healthy -> unhealthy: OSError"),
    ]
    assert report == (
        "INFO",
        "readiness: unhealthy -> degraded; cache (not critical): unhealthy (OSError)",
    )


async def test_what_is_not_critical_is_not_logged_as_a_cause(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads why a probe fails finds it marked, as in the text for a person."""
    logging_probes.readiness(Script(Unhealthy("no rows")), name="database")
    logging_probes.readiness(Script(Unhealthy()), name="mute", critical=False)
    logging_probes.readiness(
        Script(None), name="late", critical=False, interval=10, initial_delay=5
    )
    await logging_probes.report()
    assert lines(caplog)[-1] == (
        "WARNING",
        "readiness: not yet asked -> unhealthy; database: unhealthy (no rows); "
        "mute (not critical): unhealthy; late (not critical): unknown (not yet run)",
    )


async def test_a_report_that_fails_from_the_first_is_logged(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """There was no status before it."""
    logging_probes.readiness(Script(Degraded("slow")), name="slow")
    logging_probes.readiness(Script(None), name="late", interval=10, initial_delay=5)
    await logging_probes.report()
    assert lines(caplog) == [
        ("INFO", "check 'slow' of readiness: unknown -> degraded: slow"),
        (
            "WARNING",
            "readiness: not yet asked -> unknown; slow: degraded (slow); late: unknown "
            "(not yet run)",
        ),
    ]


async def test_what_failed_without_a_word_is_named(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure without a message leaves no empty brackets."""
    logging_probes.readiness(Script(Unhealthy()), name="mute")
    await logging_probes.report()
    assert lines(caplog) == [
        ("WARNING", "check 'mute' of readiness: unknown -> unhealthy"),
        ("WARNING", "readiness: not yet asked -> unhealthy; mute: unhealthy"),
    ]


async def test_the_traceback_of_a_failure_is_in_the_log_and_nowhere_else(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """What must not be published is there for who reads the log."""
    error = OSError("password=hunter2")
    logging_probes.readiness(Script(error), max_age=0)
    report = await logging_probes.report()
    assert "hunter2" not in repr(report)
    change, _ = caplog.records
    assert change.exc_info is not None
    assert change.exc_info[1] is error
    assert "hunter2" not in change.getMessage()


async def test_no_traceback_without_an_error(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """A timeout raised nothing, and a degraded check said all there is to say."""
    logging_probes.readiness(Script(3600), name="hanging")
    logging_probes.readiness(Script(Degraded("slow")), name="slow")
    await logging_probes.report()
    assert [record.exc_info for record in caplog.records] == [None] * 3


async def test_readiness_says_why_beside_the_checks(
    logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """Drain and startup stand first in the line."""
    logging_probes.startup(Script(OSError()), name="migrate", max_age=0)
    await logging_probes.report()
    assert lines(caplog)[1:] == [
        ("WARNING", "readiness: not yet asked -> unhealthy; startup has not passed: migrate")
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "draining: not ready for new work, which is served all the same"),
        (
            {"reason": "deploy 7", "by": "ana", "lease": 90.0},
            "draining by ana: deploy 7, for 90 s: not ready for new work, which is served all the "
            "same",
        ),
    ],
)
def test_a_drain_is_logged_with_its_reason(
    arguments: dict[str, Any], line: str, logging_probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, why and for how long, and its end."""
    logging_probes.drain(**arguments)
    logging_probes.undrain()
    assert lines(caplog) == [("WARNING", line), ("WARNING", "drain ended")]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(60.0001, "60 s"), (0.5, "0.5 s"), (3_600_000.0, "3600000 s")]
)
def test_a_lease_is_logged_as_it_was_given(
    seconds: float, shown: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A fleet's is counted by the clock of Redis, and a long one needs no exponent."""
    since = clock.time()
    LoggingObserver().on_drain(Drain(since=since, reason="", until=since + seconds))
    [(_, line)] = lines(caplog)
    assert line.startswith(f"draining, for {shown}: ")


def test_a_drain_that_sigterm_began_is_not_logged_twice(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever took the signal has said so."""
    LoggingObserver().on_drain(Drain(since=clock.time(), reason="SIGTERM", final=True))
    assert lines(caplog) == []


async def test_the_logger_is_the_applications_choice(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """`LoggingObserver(logger)` writes there."""
    probes = Probes(clock=clock, observers=[LoggingObserver(logging.getLogger("shop.health"))])
    probes.readiness(Script(Unhealthy("down")))
    await probes.report()
    assert [record.name for record in caplog.records] == ["shop.health"] * 2


async def test_without_observers_nothing_is_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """`observers=[]` is silent."""
    probes = Probes(clock=clock, observers=[])
    probes.readiness(Script(OSError()))
    assert not (await probes.report()).passing
    assert lines(caplog) == []


# -- who is told of what ----------------------------------------------------------------------


async def test_every_run_and_every_change_is_told(probes: Probes, recorder: Recorder) -> None:
    """Results come each time, with the error unredacted; changes when the status does."""
    error = OSError("secret")
    probes.readiness(Script(None, None, error, error), max_age=0)
    for _ in range(4):
        await probes.report()
    assert [result.status.value for result in recorder.results] == [
        "healthy",
        "healthy",
        "unhealthy",
        "unhealthy",
    ]
    assert recorder.errors == [None, None, error, error]
    assert recorder.changes == [
        (Status.UNKNOWN, Status.HEALTHY),
        (Status.HEALTHY, Status.UNHEALTHY),
    ]
    assert recorder.reports == [(None, Status.HEALTHY), (Status.HEALTHY, Status.UNHEALTHY)]


async def test_a_wait_that_timed_out_is_told_before_its_result(
    probes: Probes, recorder: Recorder
) -> None:
    """Both are news."""
    probes.readiness(Script(2))
    await probes.report()
    await anyio.sleep(2)
    assert [result.message for result in recorder.results] == [
        "timed out after 0.8 s, still running for 0.8 s",
        None,
    ]


async def test_a_part_of_a_report_is_no_report(probes: Probes, recorder: Recorder) -> None:
    """Who asks for one check, or leaves one out, has not heard the whole."""
    probes.readiness(Script(None), name="one")
    probes.readiness(Script(None), name="two")
    await probes.report(only="one")
    await probes.report(exclude=["one"])
    assert recorder.reports == []
    await probes.report()
    assert recorder.reports == [(None, Status.HEALTHY)]


async def test_drains_are_told(probes: Probes, recorder: Recorder) -> None:
    """Begin, renewal and end."""
    assert recorder.drains == []
    first = probes.drain(reason="one")
    second = probes.drain(reason="two")
    assert probes.draining == second
    probes.undrain()
    probes.undrain()
    assert recorder.drains == [first, second, None]


async def test_an_observer_may_come_later(probes: Probes) -> None:
    """It hears of what happens from then on."""
    probes.readiness(Script(None), max_age=0)
    await probes.report()
    late = Recorder()
    probes.observe(late)
    await probes.report()
    assert len(late.results) == 1


async def test_methods_that_are_not_overridden_cost_nothing(clock: FakeClock) -> None:
    """They are not called, and not even kept."""

    class OnlyDrain(Observer):
        def on_drain(self, drain: Drain | None) -> None:
            """Hear of drains."""

    probes = Probes(clock=clock, observers=[OnlyDrain()])
    told = probes.service.observers
    kept: list[object] = [told.on_result, told.on_change, told.on_report, told.on_answer]
    assert kept == [[]] * 4
    assert len(told.on_drain) == 1


async def test_an_observer_need_not_be_a_subclass(clock: FakeClock) -> None:
    """It is told of the events that it has methods for."""

    class Duck:
        def __init__(self) -> None:
            self.heard: list[Status] = []

        def on_result(self, result: CheckResult, error: BaseException | None) -> None:
            self.heard.append(result.status)

    duck: Any = Duck()
    probes = Probes(clock=clock, observers=[duck])
    probes.readiness(Script(None))
    await probes.report()
    assert duck.heard == [Status.HEALTHY]


def test_an_observer_without_a_method_is_refused(clock: FakeClock) -> None:
    """What can hear of nothing was passed by mistake."""
    mistake: Any = "stdout"
    with pytest.raises(
        ConfigurationError,
        match="observer 'stdout' has none of the methods on_answer, on_change, on_drain, "
        "on_report, on_result",
    ):
        Probes(clock=clock, observers=[mistake])


def test_an_observer_class_is_refused_in_favour_of_an_instance(clock: FakeClock) -> None:
    """A class has the methods, and nobody to call them on."""
    mistake: Any = LoggingObserver
    with pytest.raises(ConfigurationError, match="LoggingObserver"):
        Probes(clock=clock, observers=[mistake])


class Broken(Observer):
    """An observer that raises at every event."""

    def on_result(self, result: CheckResult, error: BaseException | None) -> None:
        """Raise."""
        raise ValueError(1)

    def on_change(self, before: Status, result: CheckResult, error: BaseException | None) -> None:
        """Raise."""
        raise ValueError(2)

    def on_report(self, before: Status | None, report: Report) -> None:
        """Raise."""
        raise ValueError(3)

    def on_answer(self, probe: Probe, code: int) -> None:
        """Raise."""
        raise ValueError(4)

    def on_drain(self, drain: Drain | None) -> None:
        """Raise."""
        raise ValueError(5)


async def test_an_observer_that_raises_harms_nothing(
    clock: FakeClock, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of its failures is logged, and the observer after it hears of everything."""
    probes = Probes(clock=clock, observers=[Broken(), recorder])
    probes.readiness(Script(None))
    assert (await ask(probes)).status is Status.HEALTHY
    probes.service.answered(Probe.READINESS, 200)
    probes.drain()
    assert len(recorder.results) == len(recorder.changes) == len(recorder.reports) == 1
    assert len(recorder.drains) == 1
    messages = [message for _, message in lines(caplog)]
    events = ["on_result", "on_change", "on_report", "on_answer", "on_drain"]
    assert len(messages) == len(events)
    for event, message in zip(events, messages, strict=True):
        assert message.startswith(f"observer <bound method Broken.{event} of ")
        assert message.endswith("failed; probekit goes on without it")


async def test_what_an_observer_leaves_out_may_be_called(clock: FakeClock) -> None:
    """super().on_result(...) in a subclass does nothing."""
    observer = Observer()
    result = CheckResult("one", Probe.READINESS, Status.HEALTHY)
    observer.on_result(result, None)
    observer.on_change(Status.UNKNOWN, result, None)
    observer.on_report(None, Report(Probe.READINESS, Status.HEALTHY, {}))
    observer.on_answer(Probe.READINESS, 200)
    observer.on_drain(None)
    assert result.status is Status.HEALTHY
