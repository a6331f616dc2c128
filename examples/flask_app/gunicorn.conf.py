"""How the service runs: ``gunicorn -c examples/flask_app/gunicorn.conf.py``."""

from __future__ import annotations

import os
from typing import Any

wsgi_app = "examples.flask_app.app:create_app()"
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# A worker without threads answers no probe while it is busy.
worker_class = "gthread"
threads = 4

# Seconds. Longer than the 60 for which load balancers keep a connection idle, or they send a
# request into one that is just being closed.
keepalive = 75

# Seconds from SIGTERM until gunicorn kills its workers, the drain included: 5 of that, 15 that the
# longest request takes, and 1 to end.
graceful_timeout = 21

# Workers prove to gunicorn that they live by touching a file; on a slow disk they would not.
worker_tmp_dir = "/dev/shm"


def post_worker_init(worker: Any) -> None:
    """Begin in each worker: background checks and the watch for SIGTERM wait for no request."""
    worker.wsgi.extensions["probekit"].begin()
