"""A Flask application that tells its process id, at once or a second later."""

from __future__ import annotations

import os
import time

from flask import Flask

import probekit.flask
from probekit import Probes

app = Flask(__name__)
probekit.flask.init_app(app, Probes())


@app.get("/")
def quick() -> str:
    """Answer at once."""
    return str(os.getpid())


@app.get("/slow")
def slow() -> str:
    """Answer late."""
    time.sleep(1.0)
    return str(os.getpid())
