"""How an application declares its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeVar, Unpack, overload

from probekit._core.check import CheckFunction, declare
from probekit._core.model import Probe
from probekit._core.options import refuse_unknown
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probekit._core.check import Check
    from probekit._lifecycle.service import Service

__all__ = ["CheckOptions", "Declaring", "LivenessOptions", "probe_of"]

F = TypeVar("F", bound=CheckFunction)


class CheckOptions(TypedDict, total=False):
    """What `Probes.readiness` and its siblings take beside the function; see there."""

    name: str | None
    timeout: float
    max_age: float
    interval: float | None
    initial_delay: float | None
    stale_after: float | None
    critical: bool
    failure_threshold: int
    success_threshold: int
    on_error: Literal["fail", "keep"]
    cancel_after: float | None


class LivenessOptions(CheckOptions, total=False):
    """What `Probes.liveness` takes beside that."""

    external: bool


class Decorator(Protocol):
    """Gives back the function that it decorates."""

    def __call__(self, function: F, /) -> F:
        """Register ``function`` and return it."""
        ...


class Declaring:
    """What `Probes` has for declaring checks."""

    service: Service

    @overload
    def liveness(self, function: F, /, **options: Unpack[LivenessOptions]) -> F: ...
    @overload
    def liveness(self, /, **options: Unpack[LivenessOptions]) -> Decorator: ...
    def liveness(self, function: Any = None, /, **options: Unpack[LivenessOptions]) -> Any:
        """Declare a check of the process itself: when it fails, the platform restarts it.

        Takes what `readiness` takes, and ``external=True``: without it a ready-made check that
        talks to something outside is refused, since it would restart every replica at once.
        """
        return self._declare(Probe.LIVENESS, function, options)

    @overload
    def readiness(self, function: F, /, **options: Unpack[CheckOptions]) -> F: ...
    @overload
    def readiness(self, /, **options: Unpack[CheckOptions]) -> Decorator: ...
    def readiness(self, function: Any = None, /, **options: Unpack[CheckOptions]) -> Any:
        """Declare a check of what new work needs: when it fails, no new work is sent.

        Use it as a bare decorator, as a decorator with options, or as a call. A check takes no
        argument. It returns None, or a mapping to publish, when all is well; it raises `Unhealthy`
        or `Degraded`, whose text is published, or anything else, whose class name is.

        Args:
            function: The check, ``def`` (runs on a thread of its own) or ``async def``.
            **options: All times in seconds.

                - ``name``: The function's name by default.
                - ``timeout`` (0.8): How long an answer waits for it.
                - ``max_age`` (1.0): How long a result is reused.
                - ``interval`` (None): Run it in the background every so often.
                - ``initial_delay`` (random within ``interval``): Before its first background run.
                - ``stale_after`` (three intervals and a timeout): When a result is too old.
                - ``critical`` (True): False: its failure degrades and takes nothing out of service.
                - ``failure_threshold``, ``success_threshold`` (1): Outcomes in a row.
                - ``on_error`` (``"fail"``): ``"keep"``: while the check itself cannot run, its last
                  good value stands until ``stale_after``.
                - ``cancel_after`` (30): When a run that goes on and on is cancelled.

        Returns:
            The function, unchanged.

        Raises:
            ConfigurationError: If the check or an option cannot work, or the name is taken.
        """
        return self._declare(Probe.READINESS, function, options)

    @overload
    def startup(self, function: F, /, **options: Unpack[CheckOptions]) -> F: ...
    @overload
    def startup(self, /, **options: Unpack[CheckOptions]) -> Decorator: ...
    def startup(self, function: Any = None, /, **options: Unpack[CheckOptions]) -> Any:
        """Declare a check of a slow first step; until it has passed, readiness fails too.

        Once passed it is not run again. Takes what `readiness` takes.
        """
        return self._declare(Probe.STARTUP, function, options)

    def _declare(self, probe: Probe, function: Any, options: Mapping[str, Any]) -> Any:
        where = f"{probe.value} check"
        if probe is not Probe.LIVENESS and "external" in options:
            raise ConfigurationError(
                f"{where}: external is an option of liveness checks alone; leave it out"
            )
        known = LivenessOptions if probe is Probe.LIVENESS else CheckOptions
        refuse_unknown(where, options, known.__optional_keys__)

        def register(function: F) -> F:
            self.service.engine.add(declare(function, probe=probe, **options))
            return function

        return register if function is None else register(function)

    def checks(self, probe: Probe) -> tuple[Check, ...]:
        """Return the checks of ``probe`` in the order of registration.

        Raises:
            ConfigurationError: If there is no such probe.
        """
        states = self.service.engine.registered(probe_of(probe))
        return tuple(state.check for state in states)


def probe_of(value: Any) -> Probe:
    """Return the probe that ``value`` is or names.

    Raises:
        ConfigurationError: If there is no such probe.
    """
    try:
        return Probe(value)
    except ValueError:
        *others, last = (repr(each.value) for each in Probe)
        raise ConfigurationError(
            f"there is no probe {value!r}; there are {', '.join(others)} and {last}"
        ) from None
