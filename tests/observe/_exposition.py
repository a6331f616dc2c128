"""Reading what Prometheus would read, and a clock that stands still until it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from probekit.observe.prometheus import PrometheusObserver

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
ACCEPTS = ("text/plain; version=0.0.4", OPENMETRICS)


class FakeClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.broken = False

    def monotonic(self) -> float:
        if self.broken:
            raise OSError("no clock")
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


def parse(content_type: str, body: bytes) -> list[Metric]:
    """Return the metrics of an exposition; raises if it is not valid."""
    parser = parse_openmetrics if "openmetrics" in content_type else parse_text
    return list(parser(body.decode()))


def families(metrics: PrometheusObserver, accept: str = OPENMETRICS) -> list[Metric]:
    """Return what a scrape shows."""
    return parse(*metrics.render(accept))


def samples(found: list[Metric], name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name with ``labels``, by the values of the others in their order."""
    return {
        tuple(sample.labels[each] for each in sorted(sample.labels.keys() - labels)): sample.value
        for metric in found
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    }


def sample(found: list[Metric], name: str, **labels: str) -> float | None:
    """Return the one sample of that name and those labels, or None if there is none."""
    matching = samples(found, name, **labels)
    assert len(matching) <= 1, matching
    return next(iter(matching.values()), None)
