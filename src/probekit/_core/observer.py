"""Who is told of what happens, and how a failing listener is kept from doing harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._core.model import CheckResult, Drain, Probe, Report, Status

__all__ = ["Observer", "Observers"]

P = ParamSpec("P")


class Observer:
    """Something that is told of results and changes: logging, metrics, notifications.

    Subclass it and override what you need; the methods that you leave out cost nothing. They are
    called on the event loop's thread, in the order of registration, and **must not block**;
    `on_drain` comes from whichever thread turned the switch, `on_answer` on WSGI from whichever
    gave the answer, and with `on_report` from the side port's, too, if there is one. An observer
    that raises is logged and harms nothing.
    """

    def on_result(self, result: CheckResult, error: BaseException | None) -> None:
        """Hear of every finished run, and of every wait for one that timed out.

        Args:
            result: The check's result, the thresholds applied.
            error: The exception that the check raised, unredacted, or None.
        """

    def on_change(self, before: Status, result: CheckResult, error: BaseException | None) -> None:
        """Hear of a check whose status is no longer ``before``."""

    def on_report(self, before: Status | None, report: Report) -> None:
        """Hear of a probe whose answer changed its status; ``before`` is None the first time."""

    def on_answer(self, probe: Probe, code: int) -> None:
        """Hear of every probe request that was answered, with its HTTP status code."""

    def on_drain(self, drain: Drain | None) -> None:
        """Hear of a drain that began or was renewed, or (None) that ended."""


class Observers:
    """The observers of one `Probes`, each event a list of those that care for it."""

    __slots__ = ("on_answer", "on_change", "on_drain", "on_report", "on_result")

    def __init__(self) -> None:
        self.on_result: list[Callable[[CheckResult, BaseException | None], None]] = []
        self.on_change: list[Callable[[Status, CheckResult, BaseException | None], None]] = []
        self.on_report: list[Callable[[Status | None, Report], None]] = []
        self.on_answer: list[Callable[[Probe, int], None]] = []
        self.on_drain: list[Callable[[Drain | None], None]] = []

    def tell(self, before: CheckResult, result: CheckResult, error: BaseException | None) -> None:
        """Tell of a finished run, and of the change if the status is another than before."""
        for on_result in self.on_result:
            on_result(result, error)
        if result.status is not before.status:
            for on_change in self.on_change:
                on_change(before.status, result, error)

    def add(self, observer: Observer) -> None:
        """Tell ``observer`` of the events whose methods it overrides.

        Raises:
            ConfigurationError: If it has none of them.
        """
        if isinstance(observer, type):
            raise ConfigurationError(f"observer {observer.__name__} is a class; pass an instance")
        if not any(hasattr(observer, event) for event in self.__slots__):
            events = ", ".join(self.__slots__)
            raise ConfigurationError(f"observer {observer!r} has none of the methods {events}")
        for event in self.__slots__:
            method = getattr(observer, event, None)
            if method and getattr(method, "__func__", None) is not getattr(Observer, event):
                getattr(self, event).append(guarded(method))


def guarded(method: Callable[P, None]) -> Callable[P, None]:
    """Return ``method`` with every failure logged instead of raised."""

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            import logging  # `import probekit` does without it

            logger = logging.getLogger("probekit")
            logger.exception("observer %r failed; probekit goes on without it", method)

    return call
