"""How the probes are served without a door, or before the first request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from probekit._lifecycle.service import Service
    from probekit._web.endpoints import EndpointOptions
    from probekit._web.serving import Serving

__all__ = ["Standalone"]


class Standalone:
    """What `Probes` has for a process without a door."""

    service: Service

    def serve(
        self,
        *,
        port: int,
        host: str = "0.0.0.0",  # noqa: S104 - orchestrators ask from outside the container
        **options: Unpack[EndpointOptions],
    ) -> Serving:
        """Answer the probes while a block runs, in a process that has no server.

        ::

            with probes.serve(port=8080):            # `async with` where an event loop runs
                while not probes.draining:
                    work()

        All endpoints are answered by a thread of its own, also while the process is busy. Checks
        run on the event loop that runs here, or on one that probekit keeps. SIGTERM turns the
        process unready; the signal then waits until the block is left, and is dropped, or until
        ``drain_delay`` and ``linger`` have passed, and ends the process. A drain by an operator or
        the fleet sets `draining`, too, and a platform would start anew, ready, what leaves for it:
        where there are such drains, leave only if ``draining.final``, and pause otherwise.

        Args:
            port: Where to listen; 0: wherever there is room, which `port` of the result tells.
            host: Likewise; ``"::"`` for IPv6 and IPv4.
            **options: See `probekit.asgi.EndpointOptions`.

        Returns:
            A context manager, sync and async.

        Raises:
            ConfigurationError: If an option cannot work; when it is entered, if the port is not to
                be had, or the probes are served already.

        Note:
            In a child that was forked nothing is served; call it again there.
        """
        from probekit._web.serving import Serving

        return Serving(self.service, options, host=host, port=port, block=True)

    def start(
        self,
        *,
        port: int,
        host: str = "0.0.0.0",  # noqa: S104 - as above
        **options: Unpack[EndpointOptions],
    ) -> Serving:
        """Answer the probes from now on, in a process that has no server and no place for a block.

        SIGTERM drains for ``drain_delay``, and waits for nothing but what is in flight.

        Args:
            port: See `serve`.
            host: Likewise.
            **options: Likewise.

        Returns:
            What has the ``port``, and the methods ``stop()`` and, for the end of an event loop,
            ``await aclose()``; without either it ends with the process.

        Raises:
            ConfigurationError: If an option cannot work, the port is not to be had, or the probes
                are served already.
        """
        from probekit._web.serving import Serving

        serving = Serving(self.service, options, host=host, port=port, block=False)
        serving.start()
        return serving

    def begin(self) -> None:
        """Begin to serve before the first request comes, where WSGI does not tell of the start.

        Call it in each worker that a server has forked, from its main thread: background checks,
        the watch for SIGTERM and the side port begin. gunicorn's workers listen on a side port by
        themselves; for the rest it is of use there, too.

        Raises:
            ConfigurationError: If the side port is not to be had.
        """
        from probekit._web.serving import begin

        begin(self.service)
