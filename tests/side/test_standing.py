"""In which processes a WSGI application listens as soon as it is made."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pytest

from probekit import ConfigurationError
from probekit._web.standing import is_reloaded, will_serve
from probekit.wsgi import ProbeMiddleware
from tests.web._asking import make_probes

if TYPE_CHECKING:
    from collections.abc import Callable

    from probekit import Probes

FLASK = "FLASK_RUN_FROM_CLI"
LOCAL = "127.0.0.1"


def door(**options: Any) -> object:
    """Put the middleware around an application that is never asked."""
    return ProbeMiddleware(lambda *_: [], **options)


def under(command: str, **parameters: object) -> bool:
    """Whether it listens while ``flask`` runs this command."""
    context = click.Context(click.Command(command), info_name=command)
    context.params |= parameters
    with context:
        return will_serve()


def test_a_plain_process_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does one that another program with commands has started."""
    monkeypatch.delenv(FLASK, raising=False)
    assert will_serve()
    assert under("shell")


@pytest.mark.parametrize("command", ["shell", "routes", "db"])
def test_other_commands_of_flask_do_not(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A migration beside a running server must not fail for a port that is taken."""
    monkeypatch.setenv(FLASK, "true")
    assert not under(command)


@pytest.mark.parametrize(
    ("reload", "debug", "serves"),
    [
        (None, "", True),
        (None, "0", True),
        (None, "1", False),
        (True, "0", False),
        (False, "1", True),
    ],
)
def test_what_watches_for_changes_does_not(
    monkeypatch: pytest.MonkeyPatch, reload: object, debug: str, serves: bool
) -> None:
    """It starts another process, which does."""
    monkeypatch.setenv(FLASK, "true")
    monkeypatch.setenv("FLASK_DEBUG", debug)
    assert under("run", reload=reload) is serves
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    assert under("run", reload=reload)


def test_uwsgi_may_fork_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """There each worker is told to begin."""
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    assert not will_serve()


def test_what_was_reloaded_does_without_a_port_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that watches for changes may have it."""
    with make_probes().serve(host="127.0.0.1", port=0) as serving:
        monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
        assert is_reloaded()
        ProbeMiddleware(
            lambda *_: [], probes=make_probes(), side_port=serving.port, side_host="127.0.0.1"
        )
    assert "nobody answers on the side port" in caplog.text


@pytest.mark.parametrize(
    ("port", "listen"),
    [
        ("port", lambda probes: probes.start(host=LOCAL, port=9000)),
        ("side_port", lambda probes: door(probes=probes, side_port=9000, side_host=LOCAL)),
    ],
)
def test_greenlets_have_no_thread_to_listen(
    port: str, listen: Callable[[Probes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says why, and what to do instead."""
    gevent = ModuleType("gevent.monkey")
    gevent.is_module_patched = lambda name: name == "threading"  # type: ignore[attr-defined]
    message = rf"^{port} 9000 cannot work under gevent: .* of the application.*`probekit alive`"
    with monkeypatch.context() as here:
        here.setitem(sys.modules, "gevent.monkey", gevent)
        with pytest.raises(ConfigurationError, match=message):
            listen(make_probes())
