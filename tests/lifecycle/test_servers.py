"""Which server gets SIGTERM next, and how long it waits for what is in flight."""

from __future__ import annotations

import functools
import logging
import re
import signal
import types
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from probekit._lifecycle.plan import make_plan
from probekit._lifecycle.servers import Server, gunicorn_worker, owner, server_of
from tests.waiting import wait_until
from tests.web._asking import make_probes

from ._signals import DELAY, end, restarts, sigterm, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probekit import Probes

    from ._signals import StandIn, Twisted


# They carry no types.
Worker: Any = import_module("gunicorn.workers.base").Worker
UvicornWorker: Any = import_module("uvicorn_worker").UvicornWorker
Config: Any = import_module("gunicorn.config").Config


@pytest.fixture
def usr1() -> Iterator[Callable[[object], None]]:
    """Return what puts a handler for SIGUSR1 in place, for the time of the test."""
    before = signal.getsignal(signal.SIGUSR1)

    def install(handler: Any) -> None:
        signal.signal(signal.SIGUSR1, handler)

    yield install
    signal.signal(signal.SIGUSR1, before)


async def nothing(_scope: object, _receive: object, _send: object) -> None:
    """Be an application."""


def uvicorns(limit: int | None = None) -> Any:
    """Return uvicorn's handler."""
    return uvicorn.Server(uvicorn.Config(nothing, timeout_graceful_shutdown=limit)).handle_exit


def gunicorns(kind: Any = Worker, **settings: object) -> Any:
    """Return the handler of one of gunicorn's workers, as its arbiter would have made it."""
    worker = kind.__new__(kind)
    worker.cfg = Config()
    for name, value in settings.items():
        worker.cfg.set(name, value)
    return worker.handle_exit


def of_module(name: str, function_name: str = "handler") -> Any:
    """Return a function of a module of that name."""
    module: dict[str, Any] = {"__name__": name}
    exec(f"def {function_name}(*_): pass", module)
    return module[function_name]


def subclass_elsewhere() -> Any:
    """Return a kind of worker that somebody else has made."""
    return types.new_class("OwnWorker", (Worker,), exec_body=lambda body: body.update(x=1))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (None, "uvicorn (timeout_graceful_shutdown: not set, so it waits for ever)"),
        (7, "uvicorn (timeout_graceful_shutdown: 7 s)"),
        (0, "uvicorn (timeout_graceful_shutdown: 0 s)"),
    ],
)
def test_uvicorn_has_a_limit_that_begins_with_the_hand_over(limit: int | None, said: str) -> None:
    """It is not set unless somebody sets it."""
    server = server_of(uvicorns(limit))
    assert (server.name, server.limit, server.time_left(5.0)) == ("uvicorn", limit, limit)
    assert (server.waits, server.counts_the_drain) == (True, False)
    assert str(server) == said


def test_a_uvicorn_without_a_known_limit_has_none() -> None:
    """Its attributes may have other names some day."""
    assert server_of(of_module("uvicorn.server")).limit is None


@pytest.mark.parametrize("kind", [Worker, subclass_elsewhere()], ids=["its own", "another's"])
def test_gunicorns_limit_begins_with_the_drain(kind: type[Worker]) -> None:
    """Its arbiter counts from its own SIGTERM, and kills a worker that drains still."""
    server = server_of(gunicorns(kind, graceful_timeout=12))
    assert (server.name, server.limit) == ("gunicorn", 12.0)
    assert [server.time_left(drained) for drained in (0.0, 5.0, 12.0, 13.0)] == [
        12.0,
        7.0,
        0.0,
        0.0,
    ]
    assert (server.waits, server.counts_the_drain) == (True, True)
    assert str(server) == "gunicorn (graceful_timeout: 12 s)"


def test_gunicorn_is_seen_though_uvicorn_has_the_signal(usr1: Callable[[object], None]) -> None:
    """Inside uvicorn's worker the limit is still the arbiter's; another signal betrays it."""
    usr1(gunicorns(UvicornWorker, graceful_timeout=9).__self__.handle_usr1)
    server = server_of(uvicorns(3))
    assert (server.name, server.limit, server.counts_the_drain) == ("gunicorn", 9.0, True)


def test_another_handler_of_that_signal_is_no_gunicorn(usr1: Callable[[object], None]) -> None:
    """Many a program uses it."""
    usr1(lambda *_: None)
    assert gunicorn_worker(uvicorns()) is None
    assert server_of(uvicorns()).name == "uvicorn"


def test_a_gunicorn_without_a_known_limit_has_none() -> None:
    """Its attributes may have other names some day."""
    handler = gunicorns()
    del handler.__self__.cfg
    assert server_of(handler).limit is None
    assert server_of(handler).time_left(5.0) is None
    handler.__self__.cfg = types.SimpleNamespace(graceful_timeout="soon")
    assert server_of(handler).limit is None


def test_where_there_is_no_usr1_there_is_no_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(signal, "SIGUSR1")
    assert gunicorn_worker(uvicorns()) is None


@pytest.mark.parametrize(
    ("module", "name"),
    [("hypercorn.asyncio.run", "hypercorn"), ("granian.server.mp", "granian")],
)
def test_servers_without_a_known_limit_are_named(module: str, name: str) -> None:
    """They finish what is in flight."""
    server = server_of(of_module(module))
    assert server == Server(name, parked=name == "granian")
    assert (str(server), server.waits, server.time_left(5.0)) == (name, True, None)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("twisted.internet.base", "daphne (Twisted)"),
        ("werkzeug._reloader", "werkzeug's reloader"),
    ],
)
def test_servers_that_do_not_wait_for_what_is_in_flight(module: str, name: str) -> None:
    """They stop on the spot, so that it must be done before."""
    server = server_of(of_module(module))
    assert (server.name, server.waits) == (name, False)


class Application:
    """Has a handler of its own."""

    def leave(self, _number: int, _frame: object) -> None:
        """Leave."""

    def __call__(self, _number: int, _frame: object) -> None:
        """Leave, too."""


def test_anybody_elses_handler_goes_by_its_module_and_name() -> None:
    """So that whoever reads the log finds it."""
    application = Application()
    here = __name__
    assert str(server_of(application.leave)) == f"the handler {here}.Application.leave"
    assert str(server_of(application)) == f"the handler {here}.Application"
    assert str(server_of(of_module("mine", "leave"))) == "the handler mine.leave"
    assert server_of(application.leave).waits


def test_a_handler_without_a_name_goes_by_its_class() -> None:
    """A partial object has none."""
    assert str(server_of(functools.partial(print))) == "the handler functools.partial"


def test_a_handler_without_a_module_does_no_harm() -> None:
    """Code that was made at run time may have none."""
    handler = of_module("gone")
    handler.__module__ = None
    assert str(server_of(handler)) == "the handler .handler"
    assert owner(handler) is handler


# -- what the log says of it --------------------------------------------------------------------


def plan(caplog: pytest.LogCaptureFixture, handler: Any, **options: Any) -> str:
    """Start an application whose server has this handler and return what is logged."""
    caplog.set_level(logging.INFO, "probekit")
    before = signal.signal(signal.SIGTERM, handler)
    try:
        probes = started(options.pop("drain_delay", 5), **options)
        assert probes.sigterm == "armed"
        end(probes)
    finally:
        signal.signal(signal.SIGTERM, before)
    return caplog.text


@pytest.mark.parametrize(
    ("server", "without", "unattended", "attended"),
    [
        (Server("uvicorn", limit=16), "21 s", "46 s", "30 s"),
        (Server("uvicorn", limit=25), "30 s", "55 s", "35 s"),
        (
            Server("hypercorn"),
            "5 s and the longest request",
            "30 s and the longest request",
            "30 s, and than 10 s and the longest request",
        ),
        (Server("gunicorn", limit=12, counts_the_drain=True), "12 s", "12 s", "12 s"),
        (
            Server("gunicorn", counts_the_drain=True),
            "5 s and the longest request",
            "30 s and the longest request",
            "30 s, and than 10 s and the longest request",
        ),
        (Server("daphne", waits=False), "25 s", "30 s", "30 s"),
    ],
)
def test_the_grace_period_has_room_for_jobs(
    server: Server, without: str, unattended: str, attended: str
) -> None:
    """They have `linger` beside the server, or before it where it knows of none, and 5 s more."""
    how = make_plan(5.0, linger=20.0)
    assert server.budget(how, jobs=False, attended=False) == without
    assert server.budget(how, jobs=False, attended=True) == without
    assert server.budget(how, jobs=True, attended=False) == unattended
    assert server.budget(how, jobs=True, attended=True) == attended


def declare_taker(probes: Probes) -> None:
    """Say what takes every job that is unfinished."""
    probes.on_abandon(lambda _job: None)


def declare_worker(probes: Probes) -> None:
    """Have each call of a function counted as a job."""
    probes.worker(lambda _job: None)


@pytest.mark.parametrize(
    ("declare", "said"), [(None, "7 s"), (declare_taker, "14 s"), (declare_worker, "14 s")]
)
def test_what_is_declared_about_jobs_makes_the_grace_period_longer(
    declare: Callable[[Probes], None] | None,
    said: str,
    server: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says at the start how long all of it may take."""
    caplog.set_level(logging.INFO, "probekit")
    signal.signal(signal.SIGTERM, uvicorns(2))
    probes = make_probes(drain_delay=5, linger=2)
    if declare is not None:
        declare(probes)
    probes.service.sigterm.arm()
    assert caplog.text.rstrip().endswith(f"the grace period must be longer than {said}")
    end(probes)
    assert server.signals == []


@pytest.mark.anyio
async def test_the_jobs_of_a_lifespan_are_waited_for_beside_requests(
    server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have begun when the server gets the signal."""
    caplog.set_level(logging.INFO, "probekit")
    signal.signal(signal.SIGTERM, uvicorns(3))
    probes = make_probes(drain_delay=5, linger=2)
    declare_worker(probes)
    async with probes.lifespan():
        assert caplog.text.rstrip().endswith("the grace period must be longer than 13 s")
    assert server.signals == []


def test_a_block_that_is_served_may_have_jobs_to_give_back(
    hasty: Twisted, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is declared before: a worker's loop brings them."""
    caplog.set_level(logging.INFO, "probekit")
    with make_probes(drain_delay=1, linger=2).serve(host="127.0.0.1", port=0):
        assert "the grace period must be longer than 8 s" in caplog.text
    assert hasty.signals == []


WARNING = "kills its workers"


@pytest.mark.parametrize(
    ("limit", "delay", "warned"), [(30, 5, False), (6, 5, False), (5, 5, True), (2, 5, True)]
)
def test_a_drain_that_gunicorn_would_cut_is_told_at_the_start(
    limit: int, delay: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With both numbers, and which of them to change."""
    text = plan(caplog, gunicorns(graceful_timeout=limit), drain_delay=delay)
    assert f"hand it to gunicorn (graceful_timeout: {limit} s)" in text
    assert (WARNING in text) == warned
    if warned:
        assert (
            f"SIGTERM: gunicorn kills its workers {limit} s after its own SIGTERM, amid a drain of "
            f"up to {delay:g} s: raise graceful_timeout above that and the longest request, or "
            f"lower drain_delay" in text
        )


def test_a_drain_by_evidence_is_measured_by_its_longest(caplog: pytest.LogCaptureFixture) -> None:
    """The number to lower is another then."""
    handler = gunicorns(graceful_timeout=10)
    text = plan(caplog, handler, drain_delay=5, drain_until="quiet", drain_max=12)
    assert "amid a drain of up to 12 s" in text
    assert "or lower drain_max" in text


def test_a_limit_that_begins_with_the_hand_over_is_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Uvicorn's begins when the drain is over."""
    assert WARNING not in plan(caplog, uvicorns(2))


@pytest.mark.parametrize("kind", ["requests", "jobs"])
def test_what_gunicorn_will_cut_is_named_in_time(
    kind: str, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a second before SIGKILL, which spares no job, and for which the drain has counted."""
    handler = gunicorns(graceful_timeout=1)
    handler.__self__.alive = True
    signal.signal(signal.SIGTERM, handler)
    probes = started(DELAY)
    probes.service.jobs.attended = True
    in_flight = getattr(probes.service.traffic, kind)
    in_flight["slow"] = {"method": "GET", "path": "/slow"}, probes.service.traffic.clock()
    sigterm()
    wait_until(lambda: "still in flight" in caplog.text, "it is named")
    assert re.search(
        r"still in flight 0\.[3-9] s after the hand-over, and gunicorn \(graceful_timeout: 1 s\) "
        r"cuts it: GET /slow for [01]\.\d s",
        caplog.text,
    )
    assert not handler.__self__.alive
    in_flight.clear()
    end(probes)
    signal.signal(signal.SIGTERM, server.handle)


def test_an_unknown_limit_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows what would be cut."""
    handler = gunicorns()
    handler.__self__.cfg = None
    assert WARNING not in plan(caplog, handler)


def test_gunicorns_own_handler_leaves_system_calls_going(server: StandIn) -> None:
    """Its worker set it so, and waits in none that would keep Python from the handler."""
    handler = gunicorns()
    signal.signal(signal.SIGTERM, handler)
    signal.siginterrupt(signal.SIGTERM, False)
    probes = started(30)
    assert restarts()
    end(probes)
    assert restarts()
    assert signal.getsignal(signal.SIGTERM) == handler
    signal.signal(signal.SIGTERM, server.handle)


def test_anybody_elses_handler_is_interrupted_as_before(server: StandIn) -> None:
    """A main thread that waits must come out of it, or the handler does not run."""
    assert not restarts()
    probes = started(30)
    assert not restarts()
    end(probes)
    assert not restarts()
    assert server.signals == []
