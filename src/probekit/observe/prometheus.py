"""Show the checks, the drain and what is in flight to Prometheus.

Needs the extra ``prometheus``.

A scrape runs no check: it reads what is known. In the multiprocess mode of prometheus-client, where
collectors and callbacks of other workers cannot be asked, the metrics are ordinary ones, written
whenever something happens, and every second.
"""

from __future__ import annotations

import gc
import logging
import math
from threading import Lock, RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from probekit._core.forked import renew_when_forked
from probekit._core.model import Probe, Status
from probekit.exceptions import ConfigurationError, MissingExtraError
from probekit.observers import Observer

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector

    from probekit.observe._prometheus import (
        Children,
        Idle,
        forget_dead_processes,
        make_families,
        numbers_in,
        shared_directory,
    )
except ImportError as _error:
    raise MissingExtraError(__name__, package="prometheus-client", extra="prometheus") from _error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from probekit._core.model import CheckResult, Drain
    from probekit.probes import Probes

__all__ = ["PrometheusObserver", "instrument"]

logger: logging.Logger = logging.getLogger("probekit")

OUTCOMES: Final = ("healthy", "degraded", "unhealthy", "timeout", "inconclusive")
UPDATE_EVERY: Final = 1.0
"""Seconds between two updates for other processes, unless something changed."""


def instrument(probes: Probes, *, registry: CollectorRegistry = REGISTRY) -> PrometheusObserver:
    """Add the metrics of ``probes`` to ``registry``.

    Where the application serves that registry already, this is all there is to do. Otherwise hand
    the result to a door, as ``metrics=``, or serve what its `PrometheusObserver.render` returns.
    Several `Probes` may share a registry: the label ``application`` is the name of each.

    Args:
        probes: What to watch. It is not kept alive by this.
        registry: Where to, the global one of prometheus-client by default.

    Returns:
        The observer, the same one each time it is asked for with the same arguments.

    Raises:
        ConfigurationError: If the registry shows another `Probes` of the same name or metrics of
            the same names, or if PROMETHEUS_MULTIPROC_DIR is no directory.
    """
    with _exporters.lock:
        return _exporters.of(registry).add(probes, registry)


class PrometheusObserver(Observer):
    """Counts what happens to a `Probes` and shows it to Prometheus; `instrument` makes it.

    Note:
        `refresh` and `render` may be called from any thread.
    """

    def __init__(self, probes: Probes, registry: CollectorRegistry, exporter: Exporter) -> None:
        self._directory = shared_directory()
        self._probes = ref(probes)
        self._name = probes.name
        self._registry = registry
        self._exporter = exporter
        self._families = families = make_families()
        self._status = Children(families.status, probes.name)
        self._duration = Children(families.duration, probes.name)
        self._runs = Children(families.runs, probes.name)
        self._numbers = Children(families.numbers, probes.name)
        self._named: dict[tuple[Probe, str], list[str]] = {}
        self._requests = Children(families.requests, probes.name)
        self._draining = families.draining.labels(probes.name)
        self._in_flight = Children(families.in_flight, probes.name)
        self._loop_lag = families.loop_lag.labels(probes.name)
        # What is shown as 0 from the beginning has an increase the first time it happens.
        for probe in Probe:
            for code in (200, 503):
                self._requests[probe, code].inc(0)
        self._monotonic = probes.service.clock.monotonic
        self._due = 0.0
        if self._directory is not None:
            probes.service.companions.append(Idle(self._tell_other_processes))
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Have a lock that nobody holds; prometheus-client renews no numbers in a fork either."""
        # Whoever reads the drain may end it, and is told so while it holds the lock.
        self._lock = RLock()

    @property
    def probes(self) -> Probes | None:
        """What is watched, or None if it is gone."""
        return self._probes()

    def refresh(self) -> None:
        """Bring the gauges up to date.

        A scrape of the registry does this by itself. Call it before a scrape only in
        prometheus-client's multiprocess mode, and only if you do not use `render`.
        """
        probes = self._probes()
        if probes is None:
            return
        with self._lock:
            for probe in Probe:
                for name, result in probes.peek(probe).checks.items():
                    for status in Status:
                        self._status[probe, name, status].set(result.status is status)
                    for outcome in OUTCOMES:
                        self._runs[probe, name, outcome].inc(0)
                    self._show_numbers(probe, name, numbers_in(result.detail))
            self._draining.set(probes.draining is not None)
            for kind, count in probes.in_flight.items():
                self._in_flight[(kind,)].set(count)
            self._loop_lag.set(probes.loop_lag)

    def _show_numbers(self, probe: Probe, check: str, numbers: dict[str, float]) -> None:
        gone = self._named.get((probe, check), [])
        self._named[probe, check] = [*numbers]
        for name, number in numbers.items():
            self._numbers[probe, check, name].set(number)
        for name in gone:
            if name in numbers:
                continue
            if self._directory is None:
                del self._numbers[probe, check, name]
                self._families.numbers.remove(self._name, probe, check, name)
            else:  # where several processes write, the client can take nothing away
                self._numbers[probe, check, name].set(math.nan)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return what to answer to a scrape: everything in the registry, not only this `Probes`.

        In prometheus-client's multiprocess mode: everything of all processes.

        Args:
            accept: The header ``Accept``; it chooses between the text format and OpenMetrics.

        Returns:
            The content type and the body.

        Note:
            The client reads files for it: where an event loop runs, call it on a thread.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # of a version that is no number
            encode, content_type = choose_encoder("")
        if self._directory is None:
            return content_type, encode(self._registry)
        self._exporter.refresh()
        forget_dead_processes(self._directory)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, str(self._directory))  # type: ignore[no-untyped-call]  # it has no annotations
        return content_type, encode(everybody)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this `Probes` as they stand; the registry's exporter asks."""
        for family in self._families:
            yield from family.collect()

    def on_result(self, result: CheckResult, error: BaseException | None) -> None:
        """Count a run by what it came to, and note how long it took."""
        # The status has the thresholds applied; what came of this one run shows in these.
        failed = result.failures > 0 or result.stale
        if result.inconclusive:
            outcome = "inconclusive"
        elif error is None:
            outcome = "timeout" if failed else "healthy"
        else:
            outcome = "unhealthy" if failed else "degraded"
        self._runs[result.probe, result.name, outcome].inc()
        # A run that timed out is still going; a stale result is that of an older run, and so is an
        # inconclusive one, or there is none.
        if outcome != "timeout" and not result.stale and result.duration is not None:
            self._duration[result.probe, result.name].observe(result.duration)
        self._tell_other_processes()

    def on_change(self, before: Status, result: CheckResult, error: BaseException | None) -> None:
        """Let the other processes see the new status."""
        self._tell_other_processes(at_once=True)

    def on_answer(self, probe: Probe, code: int) -> None:
        """Count an answer to a probe."""
        self._requests[probe, code].inc()
        if self._directory is not None:
            self._tell_other_processes()

    def on_drain(self, drain: Drain | None) -> None:
        """Let the other processes see whether this one drains."""
        self._tell_other_processes(at_once=True)

    def _tell_other_processes(self, *, at_once: bool = False) -> None:
        if self._directory is None:
            return
        now = self._monotonic()
        if at_once or now >= self._due:
            self._due = now + UPDATE_EVERY
            self.refresh()


class Exporter(Collector):
    """What one registry knows of probekit: the observers of every `Probes` that is still there.

    One collector for all metrics, so that the gauges are fresh whichever of them is asked for.
    """

    def __init__(self) -> None:
        # The registry holds this, and must keep no Probes alive by it.
        self._observers: dict[str, ref[PrometheusObserver]] = {}

    def add(self, probes: Probes, registry: CollectorRegistry) -> PrometheusObserver:
        """Return the observer of ``probes``, a new one if there is none.

        Raises:
            ConfigurationError: If another `Probes` has its name.
        """
        known = self._find(probes.name)
        if known is not None and known.probes is not probes:
            del known
            gc.collect()  # it may be garbage already, in a cycle: an application made by a test
            known = self._find(probes.name)
        if known is None:
            observer = PrometheusObserver(probes, registry, self)
            self._observers[probes.name] = ref(observer)
            probes.observe(observer)
            return observer
        if known.probes is not probes:
            raise ConfigurationError(
                f"the registry shows another Probes of the name {probes.name!r} already; tell them "
                f"apart by Probes(name=...), or pass another registry=CollectorRegistry()"
            )
        return known

    def refresh(self) -> list[PrometheusObserver]:
        """Bring all gauges up to date and return the observers that are there."""
        observers = [found for name in list(self._observers) if (found := self._find(name))]
        for observer in observers:
            try:
                observer.refresh()
            except Exception:
                logger.exception("the metrics of probekit are not up to date")
        return observers

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples: the registry asks for their names."""
        return [metric for family in make_families() for metric in family.describe()]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, those of the same name put together."""
        metrics: dict[str, Metric] = {}
        for observer in self.refresh():
            for metric in observer.collect():
                together = metrics.setdefault(metric.name, metric)
                if together is not metric:
                    together.samples.extend(metric.samples)
        return metrics.values()

    def _find(self, name: str) -> PrometheusObserver | None:
        reference = self._observers.get(name)
        observer = None if reference is None else reference()
        return None if observer is None or observer.probes is None else observer


class Exporters:
    """The exporter of each registry; whoever asks holds the lock.

    Attributes:
        lock: It.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[CollectorRegistry, Exporter] = WeakKeyDictionary()
        self.renew()
        renew_when_forked(self)

    def renew(self) -> None:
        """Have a lock that nobody holds."""
        self.lock: Lock = Lock()

    def of(self, registry: CollectorRegistry) -> Exporter:
        """Return the exporter of ``registry``, a new one if there is none.

        Raises:
            ConfigurationError: If the registry shows metrics of the same names.
        """
        exporter = self._known.get(registry)
        if exporter is None:
            exporter = Exporter()
            try:
                registry.register(exporter)
            except ValueError as error:
                raise ConfigurationError(
                    f"the registry has metrics of probekit's names already: {error}; pass another "
                    f"one: registry=CollectorRegistry()"
                ) from error
            self._known[registry] = exporter
        return exporter


_exporters = Exporters()
