"""A job under way: begun when its block is entered, and then either finished or abandoned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from probekit._lifecycle.jobs import Jobs

__all__ = ["Work", "is_work", "text_of"]

J = TypeVar("J")


class Work(Generic[J]):
    """A job that a worker has begun; `Probes.work` makes it.

    It is in flight while its block is open, ``with`` or ``async with``. It ends in one of two ways,
    and never in both: the block is left, by success or by an exception, or it is abandoned.

    Attributes:
        job: As given.
        abandoned: Whether the process has stopped waiting for it and has given it to
            ``on_abandon``. Somebody else may do it now: do not acknowledge it any more.

    Note:
        Enter it once, in any thread or task.
    """

    __slots__ = ("_begun", "_jobs", "abandoned", "job", "on_abandon", "scope")

    def __init__(
        self,
        jobs: Jobs,
        job: J,
        *,
        name: object,
        on_abandon: Callable[[J], object] | None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(f"work: name must be a str, got {name!r}; use name=str(...)")
        if on_abandon is not None and not callable(on_abandon):
            raise ConfigurationError(
                f"work: on_abandon must be a function that takes the job, got {on_abandon!r}"
            )
        self._jobs = jobs
        self._begun = False
        self.job: J = job
        self.abandoned: bool = False
        self.on_abandon: Callable[[J], object] | None = on_abandon
        self.scope: dict[str, str] = {
            "method": "job",
            "path": text_of(job) if name is None else name,
        }

    def __enter__(self) -> Self:
        """Begin the job.

        Raises:
            ConfigurationError: If it has been begun already.
        """
        if self._begun:
            raise ConfigurationError(
                f"job {self.scope['path']!r} has been begun already; call probes.work(...) anew "
                f"for each job and each try"
            )
        self._begun = True
        traffic = self._jobs.traffic
        traffic.jobs[self] = self.scope, traffic.clock()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, unless it was abandoned."""
        # Whoever takes the entry out has the job: this is what makes it one end and not two.
        if self._jobs.traffic.jobs.pop(self, None) is None:
            self._jobs.ended_late(self)

    async def __aenter__(self) -> Self:
        """Begin the job; see `__enter__`."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """End it, unless it was abandoned."""
        self.__exit__()


def is_work(entry: object) -> TypeGuard[Work[Any]]:
    """Whether what is in flight was begun here, so that it can be given back."""
    return isinstance(entry, Work)


def text_of(job: Any) -> str:
    """Return what people see of a job: a text or a number as it is, of all else only its class."""
    if isinstance(job, str):
        return job
    if isinstance(job, int) and abs(job) < 10**40:  # a UUID has 39 digits
        return str(job)
    return type(job).__name__  # its repr may hold what no log should
