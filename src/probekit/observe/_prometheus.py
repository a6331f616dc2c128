"""The metrics that Prometheus is shown, and what the multiprocess mode of its client lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import mark_process_dead  # pyright: ignore[reportUnknownVariableType]  # no annotations

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Children",
    "Families",
    "Idle",
    "forget_dead_processes",
    "make_families",
    "numbers_in",
    "shared_directory",
]

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

M = TypeVar("M", bound=MetricWrapperBase)

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 2.5, 10.0, 30.0)
"""Seconds. Two of them are defaults: 0.8 of ``timeout``, 30 of ``cancel_after``."""


MOST_NUMBERS: Final = 20
"""Of a check that are shown, so that no detail can fill a server's memory with series."""


class Families(NamedTuple):
    """The metrics of one `Probes`; the first label of each is ``application``."""

    status: Gauge
    duration: Histogram
    runs: Counter
    numbers: Gauge
    requests: Counter
    draining: Gauge
    in_flight: Gauge
    loop_lag: Gauge


def make_families() -> Families:
    """Return them, registered nowhere: `Exporter` shows those of several `Probes` as one."""
    check = ("application", "probe", "check")
    return Families(
        status=Gauge(
            "probekit_check_status",
            "Whether the check has this status (1) or another one (0).",
            (*check, "status"),
            registry=None,
            multiprocess_mode="livemax",
        ),
        duration=Histogram(
            "probekit_check_duration_seconds",
            "How long the finished runs of the check took.",
            check,
            registry=None,
            buckets=BUCKETS,
        ),
        runs=Counter(
            "probekit_check_runs_total",
            "Runs of the check by what they came to, before any threshold.",
            (*check, "outcome"),
            registry=None,
        ),
        numbers=Gauge(
            "probekit_check_number",
            "A number that the check has published in its detail.",
            (*check, "key"),
            registry=None,
            multiprocess_mode="liveall",
        ),
        requests=Counter(
            "probekit_probe_requests_total",
            "Probe requests by the HTTP status code of the answer.",
            ("application", "probe", "code"),
            registry=None,
        ),
        draining=Gauge(
            "probekit_draining",
            "Whether the process drains (1): it is not ready, and serves all the same.",
            ("application",),
            registry=None,
            multiprocess_mode="livemax",
        ),
        in_flight=Gauge(
            "probekit_in_flight",
            "What the application is busy with.",
            ("application", "kind"),
            registry=None,
            multiprocess_mode="livesum",
        ),
        loop_lag=Gauge(
            "probekit_event_loop_lag_seconds",
            "How late the event loop is.",
            ("application",),
            registry=None,
            multiprocess_mode="livemax",
        ),
    )


class Children(dict[tuple[object, ...], M]):
    """The children of a metric by their labels after the first, made once: looking up is cheap."""

    def __init__(self, family: M, application: str) -> None:
        super().__init__()
        self._family = family
        self._application = application

    def __missing__(self, labels: tuple[object, ...]) -> M:
        child = self[labels] = self._family.labels(self._application, *labels)
        return child


def numbers_in(detail: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in the detail of a check, and in the mappings in it, by their names."""

    def each(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
        for name, value in values.items():
            if isinstance(value, int | float):
                with suppress(OverflowError):  # a whole number that no float can hold
                    yield f"{prefix}{name}", float(value)
            elif isinstance(value, Mapping) and not prefix:
                yield from each(cast("Mapping[str, Any]", value), f"{name}.")

    return dict(islice(each(detail, ""), MOST_NUMBERS))


class Idle:
    """Goes along with a worker, which tells the others how it is even if nothing happens to it.

    Args:
        tell: Tells them, if that is due.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def keep(self) -> None:
        """Tell them; twice a second."""
        self._tell()

    def leave(self) -> None:
        """Say nothing: whose process has ended is not shown any more."""


def shared_directory() -> Path | None:
    """Return where prometheus-client keeps the values that all processes share, or None.

    Raises:
        ConfigurationError: If it cannot keep them there.
    """
    if values.ValueClass is values.MutexValue:
        return None
    # The client takes the variable in lower case too.
    path = os.environ.get(VARIABLE) or os.environ.get(VARIABLE.lower(), "")
    if not path or not Path(path).is_dir():
        raise ConfigurationError(
            f"{VARIABLE}={path!r} is no directory; make it, empty, before the server starts"
        )
    return Path(path)


def forget_dead_processes(directory: Path) -> None:
    """Remove the gauges of processes that have died.

    The client wants to be told of each, for which few servers have a hook. Without it a worker
    that was killed during a drain would be shown as draining for ever.
    """
    # Where the files are not named after process ids, as under uWSGI, nobody can tell. On Windows
    # a process that is looked up by os.kill is killed.
    if os.name != "posix" or not (directory / f"gauge_livemax_{os.getpid()}.db").exists():
        return
    pids = {file.stem.rpartition("_")[2] for file in directory.glob("gauge_live*_*.db")}
    for pid in pids:
        if pid.isdecimal() and not is_running(int(pid)):
            with suppress(FileNotFoundError):  # another process was faster
                mark_process_dead(int(pid), str(directory))  # type: ignore[no-untyped-call]  # no annotations


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        with suppress(PermissionError):  # there is, and it is somebody else's
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
