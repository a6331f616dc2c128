"""Being told of what happens: the protocol, and the observer that logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from probekit._core.model import Status
from probekit._core.observer import Observer
from probekit.exceptions import CheckFailure

if TYPE_CHECKING:
    from probekit._core.model import CheckResult, Drain, Report

__all__ = ["LoggingObserver", "Observer"]


class LoggingObserver(Observer):
    """Writes every change, and nothing else, to the logger ``probekit``.

    No orchestrator keeps the body of a failed probe, so a failing report is logged whole, once,
    when it begins to fail. What a check raised is logged here with its traceback, and published
    nowhere.

    Args:
        logger: Where to, instead of the logger ``probekit``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("probekit")

    def on_change(self, before: Status, result: CheckResult, error: BaseException | None) -> None:
        """Log a check's change: recovery as information, failure as a warning."""
        passing = result.status.passing
        if before is Status.UNKNOWN and result.status is Status.HEALTHY:
            return  # the first run went well, as was to be expected
        self._logger.log(
            logging.INFO if passing else logging.WARNING,
            "check %r of %s: %s -> %s%s",
            result.name,
            result.probe.value,
            before.value,
            result.status.value,
            f": {result.message}" if result.message else "",
            # What a check says of its own accord needs no traceback.
            exc_info=None if passing or isinstance(error, CheckFailure) else error,
        )

    def on_report(self, before: Status | None, report: Report) -> None:
        """Log a probe's change, with everything that fails."""
        if before is None and report.passing:
            return
        failing = "; ".join(
            failure(result)
            for result in report.checks.values()
            if result.status is not Status.HEALTHY
        )
        self._logger.log(
            logging.INFO if report.passing else logging.WARNING,
            "%s: %s -> %s%s",
            report.probe.value,
            "not yet asked" if before is None else before.value,
            report.status.value,
            "".join(f"; {each}" for each in (report.message, failing) if each),
        )

    def on_drain(self, drain: Drain | None) -> None:
        """Log that a drain began, was renewed or ended."""
        if drain is None:
            self._logger.warning("drain ended")
            return
        if drain.final:
            return  # whoever took the signal has said so
        self._logger.warning(
            "draining%s%s%s: not ready for new work, which is served all the same",
            f" by {drain.by}" if drain.by else "",
            f": {drain.reason}" if drain.reason else "",
            f", for {rounded(drain.until - drain.since)} s" if drain.until is not None else "",
        )


def failure(result: CheckResult) -> str:
    """Return what a check says that is not healthy, and whether that decides anything."""
    unimportant = "" if result.critical else " (not critical)"
    reason = f" ({result.message})" if result.message else ""
    return f"{result.name}{unimportant}: {result.status.value}{reason}"


def rounded(seconds: float) -> str:
    """Return a length of time as somebody would have typed it: two clocks differ by a little."""
    return f"{round(seconds, 1):.12g}"
