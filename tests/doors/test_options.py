"""A misspelt option is refused at every door, with what was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.testclient import TestClient

from probekit import ConfigurationError, Probes, wsgi
from probekit.asgi import ProbeMiddleware, probe_app
from probekit.flask import init_app
from probekit.starlette import routes
from tests.web._asking import make_probes

from ._apps import hello

if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = (
    "admin_allow, admin_token, allow, details, drain_path, liveness_path, metrics, metrics_path, "
    "readiness_path, "
)


def middleware(**options: Any) -> object:
    """Put the middleware around an application."""
    return ProbeMiddleware(hello, probes=make_probes(), **options)


def app(**options: Any) -> object:
    """Make the application of its own."""
    return probe_app(make_probes(), **options)


def starlette_routes(**options: Any) -> object:
    """Make the routes."""
    return routes(make_probes(), **options)


def added(kind: type[Starlette], **options: Any) -> None:
    """Add the middleware to an application, which makes it when it starts."""
    application = kind()
    application.add_middleware(ProbeMiddleware, probes=make_probes(), **options)
    with TestClient(application):
        pass


def added_to_starlette(**options: Any) -> None:
    """Add the middleware to a Starlette application."""
    added(Starlette, **options)


def added_to_fastapi(**options: Any) -> None:
    """Add the middleware to a FastAPI application."""
    added(FastAPI, **options)


DOORS = [middleware, app, starlette_routes, added_to_starlette, added_to_fastapi]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("readyness_path", "did you mean 'readiness_path'?"),
        ("livenes_path", "did you mean 'liveness_path'?"),
        ("detail", "did you mean 'details'?"),
        ("admin_tokens", "did you mean 'admin_token'?"),
        ("metric_path", "did you mean 'metrics_path'?"),
        ("xyz", ""),
    ],
)
def test_an_unknown_option_is_refused(
    door: Callable[..., object], option: str, remedy: str
) -> None:
    """The message has the option and the one that looks like it, or else all that there are."""
    own = "" if door in {app, starlette_routes} else "side_host, side_port, "
    remedy = remedy or f"there are {KNOWN}{own}startup_path"
    with pytest.raises(ConfigurationError) as caught:
        door(**{option: None})
    assert str(caught.value) == f"probe endpoints: there is no option {option!r}; {remedy}"


@pytest.mark.parametrize("door", DOORS)
def test_every_known_option_is_taken(door: Callable[..., object]) -> None:
    """All at once, with values that are not the defaults."""
    door(
        liveness_path="/a",
        readiness_path="/b",
        startup_path="/c",
        drain_path=None,
        metrics_path="/d",
        metrics=None,
        details="none",
        allow=["10.0.0.0/8"],
        admin_token="0123456789abcdef",
        admin_allow=["10.0.0.0/8"],
    )


def asgi_around(probes: Any) -> object:
    """Put the middleware around an application."""
    return ProbeMiddleware(hello, probes=probes)


def wsgi_around(probes: Any) -> object:
    """Put the middleware around a WSGI application."""
    return wsgi.ProbeMiddleware(lambda *_: [], probes=probes)


def in_flask(probes: Any) -> None:
    """Add the probes to a Flask application."""
    init_app(Flask(__name__), probes)


@pytest.mark.parametrize("door", [asgi_around, wsgi_around, in_flask, probe_app, routes])
@pytest.mark.parametrize("given", [None, Probes, "probes"])
def test_what_are_no_probes_is_refused(door: Callable[[Any], object], given: object) -> None:
    """The class is none either: it was to be called."""
    with pytest.raises(ConfigurationError) as caught:
        door(given)
    assert str(caught.value) == (
        f"probe endpoints: probes must be a probekit.Probes, got {given!r}; make one, and hand it "
        f"in: probes = Probes()"
    )


@pytest.mark.parametrize(
    ("door", "kind"), [(ProbeMiddleware, "ASGI"), (wsgi.ProbeMiddleware, "WSGI")]
)
def test_what_is_no_application_is_refused(door: Any, kind: str) -> None:
    """Such as what a factory forgot to return."""
    with pytest.raises(ConfigurationError) as caught:
        door(None, probes=make_probes())
    assert (
        str(caught.value) == f"ProbeMiddleware: app must be the {kind} application inside, got None"
    )
