"""What every endpoint has in common: it answers, whatever happens."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from probekit._web.access import within
from probekit._web.problem import not_found, problem

if TYPE_CHECKING:
    from probekit._web.access import Network
    from probekit._web.message import Request, Response

__all__ = ["Endpoint"]

logger = logging.getLogger("probekit")


class Endpoint(ABC):
    """Answers the requests to one path.

    Args:
        allowed: Networks that may ask; None: everybody.

    Attributes:
        divided: Whether it answers for the parts below its path, too.
    """

    divided = False

    def __init__(self, allowed: tuple[Network, ...] | None) -> None:
        self._allowed = allowed

    async def answer(self, request: Request) -> Response:
        """Answer a request; a fault of probekit's own is logged and answered, too."""
        if not self.admits(request):
            return not_found("nothing here for this address")
        try:
            return await self.respond(request)
        except Exception:
            logger.exception("probekit failed to answer %s", type(self).__name__)
            return self.fault()

    def admits(self, request: Request) -> bool:
        """Whether the request comes from where it may."""
        return self._allowed is None or within(request.client, self._allowed)

    def at_once(self, request: Request) -> Response | None:
        """Answer on any thread, without the loop; None if that cannot be: see `answer`."""
        del request
        return None

    @abstractmethod
    async def respond(self, request: Request) -> Response:
        """Answer a request that is allowed."""

    def fault(self) -> Response:
        """Answer when `respond` could not."""
        return problem(500, "probekit failed to answer; the log says why")
