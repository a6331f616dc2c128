"""Where a WSGI application is made: in a process that will serve it, or in one that will not.

WSGI knows no start, so nothing else tells whether a side port is wanted in this process.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from probekit._lifecycle.pod.master import in_gunicorn_master

__all__ = ["greenlets_loaded", "is_reloaded", "will_serve"]


def will_serve() -> bool:
    """Whether requests may come to this process, as far as can be seen."""
    if "uwsgi" in sys.modules:
        return False  # it may fork yet
    return not (in_gunicorn_master() or is_flask_command() or watches_for_changes())


def is_reloaded() -> bool:
    """Whether werkzeug's reloader has started this process."""
    return os.environ.get("WERKZEUG_RUN_MAIN") == "true"


def is_flask_command() -> bool:
    """Whether ``flask`` runs something else than its server: a shell, a migration."""
    context = click_context()
    return context is not None and context.info_name != "run"


def watches_for_changes() -> bool:
    """Whether this is the process of ``flask run`` that only starts another when a file changes."""
    context = click_context()
    if context is None or is_reloaded():
        return False
    reload = context.params.get("reload")
    if reload is None:
        return os.environ.get("FLASK_DEBUG", "0").lower() not in {"", "0", "false", "no"}
    return bool(reload)


def click_context() -> Any:
    """Return the command that ``flask`` runs, or None if it was not what started this process."""
    click: Any = sys.modules.get("click")
    if click is None or os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        return None
    return click.get_current_context(silent=True)


def greenlets_loaded() -> bool:
    """Whether gevent may yet make greenlets of threads: none must be started before."""
    return "gevent" in sys.modules
