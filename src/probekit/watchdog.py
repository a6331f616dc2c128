"""What `probekit.Probes.stall` says: what a process that stands still is stuck in."""

from __future__ import annotations

from probekit._lifecycle.watchdog.stall import Stall

__all__ = ["Stall"]
