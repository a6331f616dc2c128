"""Check what a worker without HTTP does: that its loops turn, its jobs succeed, its levels hold.

`Heartbeat` and `Progress` are fed by the worker's own code, as often as it likes: they are cheap,
thread-safe, and nothing is asked when they answer. `Level` asks for a number now and then.
"""

from __future__ import annotations

from probekit.checks._heartbeat import Heartbeat
from probekit.checks._level import Level
from probekit.checks._progress import Progress

__all__ = ["Heartbeat", "Level", "Progress"]
