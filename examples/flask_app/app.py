"""The booking service; gunicorn.conf.py says how to run it."""

from __future__ import annotations

import hmac
import os
import time

from flask import Blueprint, Flask, abort, request

import probekit.flask

from .health import probes
from .storage import Booking, session

LONGEST_REQUEST = 15.0
"""Seconds; no request takes longer, and kubernetes.yaml and health.py count on it."""
CONFIRMATION = min(LONGEST_REQUEST, float(os.environ.get("CONFIRMATION_SECONDS", "2")))
"""Seconds that the theatre takes to confirm; in this example it does nothing else."""

bookings = Blueprint("bookings", __name__, url_prefix="/bookings")


@bookings.before_request
def authenticate() -> None:
    """Let in who knows the token, if there is one; no prober comes here."""
    token = os.environ.get("API_TOKEN", "")
    if not hmac.compare_digest(request.headers.get("X-Token", ""), token):
        abort(401)


@bookings.post("")
def book() -> tuple[dict[str, object], int]:
    """Book a seat."""
    seat = (request.get_json(silent=True) or {}).get("seat")
    if not isinstance(seat, str) or not 1 <= len(seat) <= 10:
        abort(422)
    with session.begin() as database:
        booking = Booking(seat=seat, status="new")
        database.add(booking)
    return shown(booking), 201


@bookings.get("/<int:number>")
def look_up(number: int) -> dict[str, object]:
    """Say how a booking is doing."""
    with session() as database:
        return shown(database.get(Booking, number) or abort(404))


@bookings.post("/<int:number>/confirmation")
def confirm(number: int) -> dict[str, object]:
    """Have a booking confirmed; the slow request, which nobody wants cut off half-way."""
    look_up(number)
    time.sleep(CONFIRMATION)  # no connection is held while the theatre takes its time
    with session.begin() as database:
        booking = database.get_one(Booking, number)
        booking.status = "confirmed"
    return shown(booking)


def shown(booking: Booking) -> dict[str, object]:
    """Return what a customer sees."""
    return {"id": booking.id, "seat": booking.seat, "status": booking.status}


def create_app() -> Flask:
    """Make the application; the probes stand before all of it, authentication included."""
    app = Flask("bookings")
    app.register_blueprint(bookings)
    if port := os.environ.get("SIDE_PORT"):
        host = os.environ.get("HOST", "127.0.0.1")
        probekit.flask.init_app(app, probes, side_port=int(port), side_host=host)
    else:
        probekit.flask.init_app(app, probes)
    return app
