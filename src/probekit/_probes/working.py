"""How a worker declares its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from probekit._lifecycle.work import Work, text_of
from probekit.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit._lifecycle.service import Service

__all__ = ["Work", "Working"]

J = TypeVar("J")
F = TypeVar("F", bound="Callable[..., object]")
A = TypeVar("A", bound="Callable[[Any], object]")


class WorkerDecorator(Protocol):
    """Gives back what it decorates, with the same signature."""

    def __call__(self, function: F, /) -> F:
        """Have each call of ``function`` counted."""
        ...


class Working:
    """What `Probes` has for jobs."""

    service: Service

    def work(
        self,
        job: J,
        *,
        name: str | None = None,
        on_abandon: Callable[[J], object] | None = None,
    ) -> Work[J]:
        """Declare a job: it is in flight while the block is open, ``with`` or ``async with``.

        ::

            while not probes.draining:
                job = queue.get(timeout=1)
                with probes.work(job, on_abandon=queue.put_back) as work:
                    handle(job)
                    if not work.abandoned:
                        queue.acknowledge(job)

        A drain waits for it, for ``linger`` seconds at most after the hand-over of SIGTERM or the
        end of the application. Then it is abandoned: named in the log with its age, and handed to
        ``on_abandon``, so that somebody else may do it.

        A drain by an operator or the fleet ends this loop, too. Where the platform would start the
        process anew for it, leave only if ``draining.final``, and pause otherwise.

        Args:
            job: Anything; it is handed to ``on_abandon``.
            name: What people see of it. By default a job that is a text or a number is shown as it
                is, up to 100 characters, and of any other only the name of its class.
            on_abandon: What takes the job, ``def`` (called on a thread of its own) or ``async def``
                (awaited on the application's loop, which it must not block); by default what
                `on_abandon` declared. All calls have 5 seconds, together.

        Raises:
            ConfigurationError: If an argument makes no sense.

        Note:
            From any thread or task. A job that was abandoned is not stopped and may still end: look
            at `Work.abandoned` before you acknowledge it, and count on jobs that are done twice.
        """
        return Work(self.service.jobs, job, name=name, on_abandon=on_abandon)

    @overload
    def worker(
        self,
        function: F,
        /,
        *,
        job: str | None = ...,
        name: str | None = ...,
        on_abandon: Callable[[Any], object] | None = ...,
    ) -> F: ...
    @overload
    def worker(
        self,
        /,
        *,
        job: str | None = ...,
        name: str | None = ...,
        on_abandon: Callable[[Any], object] | None = ...,
    ) -> WorkerDecorator: ...
    def worker(
        self,
        function: Any = None,
        /,
        *,
        job: str | None = None,
        name: str | None = None,
        on_abandon: Callable[[Any], object] | None = None,
    ) -> Any:
        """Declare each call of a function as a job, as `work` does.

        Use it as a bare decorator, as a decorator with options, or as a call.

        Args:
            function: What handles a job, ``def`` or ``async def``, a method too.
            job: The name of the parameter that is the job; by default the first, ``self`` and
                ``cls`` aside.
            name: What people see of its jobs, before the text of each: the function's name by
                default.
            on_abandon: As for `work`.

        Returns:
            A function that does the same, with the same signature.

        Raises:
            ConfigurationError: If it is a generator function, takes no job, or an argument makes no
                sense; when it is called, if it is a ``def`` that returns something to await.
        """
        from probekit._lifecycle.worker import check_taker, counted

        if on_abandon is not None:
            check_taker(on_abandon)

        def begin(each: Any, title: str) -> Work[Any]:
            return self.work(
                each,
                name=f"{title if name is None else name} {text_of(each)}",
                on_abandon=on_abandon,
            )

        def declare(function: F) -> F:
            handler: F = counted(function, parameter=job, begin=begin)
            self.service.jobs.declared = True
            return handler

        return declare if function is None else declare(function)

    def on_abandon(self, function: A, /) -> A:
        """Declare what takes every abandoned job that has no ``on_abandon`` of its own.

        Args:
            function: Takes the job and puts it back, or dead-letters it; see `work`.

        Returns:
            The function, unchanged.

        Raises:
            ConfigurationError: If it cannot be called with one argument, or there is one already.
        """
        from probekit._core.functions import location
        from probekit._lifecycle.worker import check_taker

        check_taker(function)
        if (other := self.service.jobs.on_abandon) is not None:
            raise ConfigurationError(
                f"on_abandon has been declared already: {location(other)} and now "
                f"{location(function)}; pass one of them to probes.work(..., on_abandon=...)"
            )
        self.service.jobs.on_abandon = function
        return function
