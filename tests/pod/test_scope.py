"""How far a drain reaches, as every answer about it says, and what stands in the way of more."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from probekit._lifecycle.pod.pod import Pod
from probekit.asgi import probe_app
from tests.web._asking import ask

from ._twins import seen_by, twins
from ._workers import names_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probekit import Probes

    Making = Callable[..., Probes]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_one_process_is_one_because_it_was_told_so(
    shared: Making,
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No file, no line in the log: somebody has chosen it; the answer says so."""
    monkeypatch.setenv("PROBEKIT_SCOPE", "process")
    one, other = twins(shared)
    app = probe_app(one)
    with caplog.at_level(logging.INFO):
        for method in ("GET", "POST", "GET"):
            shown = (await ask(app, "/admin/drain", method)).json()
            reach = shown["scope"], shown["scope_reason"]
            assert reach == ("process", "PROBEKIT_SCOPE is process")
            assert [worker["pid"] for worker in shown["workers"]] == [os.getpid()]
    assert (seen_by(one), seen_by(other)) == ("", None)
    assert (await ask(probe_app(other), "/readyz")).status == 200
    assert not one.service.pod.has_started({"warm"})
    one.service.pod.start({"warm"})
    assert one.service.pod.has_started({"warm"})
    assert not other.service.pod.has_started({"warm"})
    assert names_in(runtime) == []
    assert caplog.records == []


async def test_nowhere_to_write_is_said_once(
    shared: Making, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with the reason and the remedy, however many requests come; none of them fails."""
    runtime.rmdir()  # noqa: ASYNC240 - nothing else runs
    probes = shared()
    app = probe_app(probes)
    for method, path, status in [
        ("GET", "/startupz", 200),
        ("GET", "/readyz", 200),
        ("POST", "/admin/drain", 202),
        ("GET", "/readyz", 503),
        ("GET", "/readyz", 503),
        ("DELETE", "/admin/drain", 200),
        ("GET", "/readyz", 200),
    ]:
        assert (await ask(app, path, method)).status == status
    shown = (await ask(app, "/admin/drain")).json()
    reason = f"{runtime}: No such file or directory"
    assert (shown["scope"], shown["scope_reason"]) == ("process", reason)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert messages[0] == (
        f"shared state: the workers of this server have nothing in common ({reason}), so that a "
        f"drain by POST reaches one of them; set PROBEKIT_RUNTIME_DIR to a directory that this "
        f"user may write to"
    )
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("scope", ["pod", "container"])
async def test_the_scope_is_shown(
    scope: str, shared: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing in its way, and no reason to tell."""
    monkeypatch.setenv("PROBEKIT_SCOPE", scope)
    shown = (await ask(probe_app(shared()), "/admin/drain")).json()
    assert (shown["scope"], shown["scope_reason"]) == (scope, None)


async def test_the_loop_may_do_the_small_things_and_nothing_else(
    shared: Making, blockbuster: object
) -> None:
    """What all other tests rely on: a probe that looks at the shared state blocks nothing else."""
    one, other = twins(shared)
    app = probe_app(other)
    assert (await ask(app, "/readyz")).status == 200
    one.drain()
    other.service.drain._looked = -1e9
    assert (await ask(app, "/readyz")).status == 503
    assert (await ask(app, "/readyz", query=b"verbose")).status == 503
    one.service.pod.leave()
    assert blockbuster is not None


async def test_only_linux_tells_which_processes_belong_together(
    shared: Making, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    """Elsewhere a worker is alone, and says why."""
    monkeypatch.setattr(sys, "platform", "darwin")
    pod = Pod(name="app", environment=os.environ)
    assert (pod.scope, pod.path) == ("process", None)
    assert pod.obstacle == "only Linux tells which processes belong together"
    assert names_in(runtime) == []


async def test_a_pod_has_a_name_and_a_key_of_its_own(
    shared: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet's overview tells pods apart by it: the process's own where nothing is shared."""
    pod = shared(name="shop/api").service.pod
    directory = pod.directory
    assert directory is not None
    assert pod.path is not None
    assert os.path.samestat(os.fstat(directory), os.stat(pod.path))  # noqa: PTH116 - likewise
    assert pod.key == f"{os.path.basename(pod.path)}/{pod.name}"  # noqa: PTH119 - of a string
    monkeypatch.setenv("PROBEKIT_SCOPE", "process")
    alone = shared(name="shop/api").service.pod
    assert alone.directory is None
    assert alone.key == f"{os.getpid()}/{alone.name}"
    assert alone.name != pod.name
