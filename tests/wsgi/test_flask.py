from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from flask import Blueprint, Flask, abort, current_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

import probekit.flask
from probekit import Probes
from probekit.exceptions import ConfigurationError

from ._asking import ask

if TYPE_CHECKING:
    from probekit.wsgi import WSGIApp


def make(name: str = "shop", **options: Any) -> tuple[Flask, Probes]:
    """Return an application as a factory makes it, and its probes."""
    app, probes = Flask(name), Probes(name=name, drain_delay=0)

    @app.get("/")
    def root() -> str:
        return f"this is {name}"

    probekit.flask.init_app(app, probes, **options)
    return app, probes


def test_an_application_answers_the_probes() -> None:
    """One call in the factory is enough, and Flask's own client sees it."""
    app, probes = make()
    assert app.extensions["probekit"] is probes
    client = app.test_client()
    for path in ("/healthz", "/readyz", "/startupz"):
        assert client.get(path).status_code == 200
    assert client.get("/").text == "this is shop"
    assert client.get("/nowhere").status_code == 404
    gc.collect()  # this client closes no response
    assert probes.in_flight["requests"] == 0


def test_the_test_client_may_drain() -> None:
    """It comes from this machine, so a test can turn the switch."""
    client = make()[0].test_client()
    assert client.post("/admin/drain", json={"reason": "look", "lease": 60}).status_code == 202
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["draining"]["reason"] == "look"
    assert client.get("/").status_code == 200
    assert client.delete("/admin/drain").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_nothing_of_flasks_stands_before_the_probes() -> None:
    """No authentication, blueprint, host name or slash at the end gets in the way."""
    app, _ = make()

    @app.before_request
    def authenticate() -> None:
        abort(401)

    catch_all = Blueprint("all", __name__)

    @catch_all.route("/<path:path>")
    def everything(path: str) -> str:
        raise AssertionError(path)

    app.register_blueprint(catch_all)
    app.config["SERVER_NAME"] = "shop.example"
    app.config["APPLICATION_ROOT"] = "/shop"
    client = app.test_client()
    assert client.get("/readyz", base_url="http://10.0.0.7:8000").status_code == 200
    assert client.get("/readyz/").status_code == 200
    assert client.get("/", base_url="http://shop.example").status_code == 401


def test_a_mount_moves_the_probes_and_application_root_does_not() -> None:
    """Flask takes that option for its own URLs, and a server knows nothing of it."""
    app = Flask("shop")
    app.config["APPLICATION_ROOT"] = "/shop"
    probekit.flask.init_app(app, Probes(drain_delay=0))
    assert [ask(app, path).status for path in ("/readyz", "/shop/readyz")] == [200, 404]
    site = DispatcherMiddleware(Flask("site"), {"/shop": app})
    assert [ask(site, path).status for path in ("/readyz", "/shop/readyz")] == [404, 200]


def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    """Flask's own handling of an exception, and its absence, leave the count right."""
    app, probes = make()

    @app.get("/fails")
    def fails() -> str:
        raise ValueError("no")

    @app.get("/streams")
    def streams() -> Any:
        assert probes.in_flight["requests"] == 1
        return (part for part in ("one", "two"))

    app.test_client().get("/fails").close()
    app.testing = True
    with pytest.raises(ValueError, match="no"):
        app.test_client().get("/fails")
    answer = app.test_client().get("/streams")
    assert answer.text == "onetwo"
    answer.close()
    assert probes.in_flight["requests"] == 0


def test_several_applications_live_in_one_process() -> None:
    """Each answers for itself below its own prefix, and drains alone."""
    (shop, shop_probes), (admin, _) = make("shop"), make("admin")
    both: WSGIApp = DispatcherMiddleware(shop.wsgi_app, {"/admin-ui": admin.wsgi_app})
    shop_probes.drain()
    assert ask(both, "/readyz").status == 503
    assert ask(both, "/admin-ui/readyz").status == 200
    assert ask(both, "/admin-ui/").body == b"this is admin"


def test_one_probes_serves_every_application_of_a_factory() -> None:
    """Tests make the application anew around the module's Probes."""
    probes = Probes(drain_delay=0)
    for _ in range(2):
        app = Flask("shop")
        probekit.flask.init_app(app, probes)
        assert app.test_client().get("/readyz").status_code == 200


def test_a_proxy_that_is_believed_does_not_open_the_drain() -> None:
    """ProxyFix gives the client's own address, and the proxy's header still shows."""
    app, _ = make()
    behind: WSGIApp = ProxyFix(app.wsgi_app, x_for=1)
    assert ask(behind, "/admin/drain", HTTP_X_FORWARDED_FOR="127.0.0.1").status == 403
    assert ask(behind, "/admin/drain").status == 200


def test_a_check_enters_the_application_context() -> None:
    """It has none of its own, as it belongs to no request."""
    app, probes = make()
    names: list[str] = []

    @probes.readiness(max_age=0)
    def inside() -> None:
        with app.app_context():
            names.append(current_app.name)

    @probes.readiness(max_age=0, critical=False)
    def outside() -> None:
        names.append(current_app.name)

    answer = app.test_client().get("/readyz")
    assert answer.get_json()["status"] == "degraded"
    assert answer.get_json()["checks"]["outside"]["message"] == "RuntimeError"
    assert names == ["shop"]


def test_twice_is_refused() -> None:
    """Two middlewares would count everything twice."""
    app, probes = make()
    with pytest.raises(ConfigurationError, match="'shop' answers probes already"):
        probekit.flask.init_app(app, probes)


@pytest.mark.parametrize("other", [None, "shop", lambda *_: []])
def test_what_is_no_flask_application_is_refused(other: Any) -> None:
    """The error names the doors for other applications."""
    with pytest.raises(ConfigurationError, match=r"takes a Flask application .* probekit\.wsgi"):
        probekit.flask.init_app(other, Probes(drain_delay=0))


def test_a_wrong_option_leaves_the_application_as_it_was() -> None:
    """What is refused can be tried again."""
    app, probes = Flask("shop"), Probes(drain_delay=0)
    with pytest.raises(ConfigurationError, match="details"):
        probekit.flask.init_app(app, probes, details="all")  # type: ignore[arg-type] # wrong
    assert app.extensions == {}
    assert app.test_client().get("/readyz").status_code == 404
    probekit.flask.init_app(app, probes)


WITHOUT_FLASK = """
import sys
sys.modules["flask"] = None
try:
    import probekit.flask
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_without_flask_the_error_names_the_extra() -> None:
    """The line to install it can be pasted into a shell."""
    command = [sys.executable, "-c", WITHOUT_FLASK]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    expected = "install it with: pip install 'probekit-health[flask]'"
    assert said == f"MissingExtraError probekit.flask needs flask; {expected}"


def test_the_door_for_any_wsgi_application_needs_no_flask() -> None:
    """Nothing of Flask is loaded by it."""
    code = "import sys, probekit.wsgi; print('flask' in sys.modules, 'werkzeug' in sys.modules)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == ["False", "False"]
