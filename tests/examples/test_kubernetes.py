"""The sums behind the numbers of kubernetes.yaml, done with what the example declares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

# In a process of its own: the example's metrics and its engine belong to no test.
CONTRACT = """
import json
from examples.fastapi_app.app import LONGEST_REQUEST, app, probes
from examples.fastapi_app.background import WARM_UP
from probekit import Probe

print(json.dumps({
    "timeouts": {
        probe.value: {check.name: check.timeout for check in probes.checks(probe)}
        for probe in Probe
    },
    "longest_request": LONGEST_REQUEST,
    "warm_up": WARM_UP,
}))
"""

OVERHEAD = 0.1
"""Seconds between the timeout of the slowest check and the answer."""
CLEAN_UP = 1.0
"""Seconds to close pools, and the kubelet's own rounding of 2 s comes on top."""
ROUNDING = 2.0
ENDPOINT_REMOVAL = 5.0
"""Seconds until every proxy of a cluster has heard that a pod is gone."""


@dataclass(frozen=True)
class Manifest:
    """The container and the numbers of the pod."""

    pod: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        """The only container."""
        (container,) = self.pod["containers"]
        assert isinstance(container, dict)
        return container

    def option(self, name: str) -> float:
        """Return the number of an option of uvicorn."""
        (found,) = [part for part in self.container["command"] if part.startswith(f"{name}=")]
        return float(found.partition("=")[2])

    def drain_delay(self) -> float:
        """Return the seconds from SIGTERM to its hand-over."""
        values = {each["name"]: each.get("value") for each in self.container["env"]}
        return float(values["PROBEKIT_DRAIN_DELAY"])

    def probe(self, name: str) -> dict[str, Any]:
        """Return a probe with the kubelet's defaults."""
        defaults = {"initialDelaySeconds": 0, "periodSeconds": 10, "timeoutSeconds": 1}
        return {**defaults, "failureThreshold": 3, **self.container[f"{name}Probe"]}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """The manifest of the example."""
    text = (ROOT / "examples/fastapi_app/kubernetes.yaml").read_text(encoding="utf-8")
    (deployment,) = [part for part in yaml.safe_load_all(text) if part["kind"] == "Deployment"]
    return Manifest(deployment["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """What the example declares, a cache included."""
    environment = {key: value for key, value in os.environ.items() if key != "WARM_UP_SECONDS"}
    done = subprocess.run(
        [sys.executable, "-c", CONTRACT],
        cwd=ROOT,
        env={**environment, "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        check=True,
        timeout=20,
    )
    declared = json.loads(done.stdout)
    assert isinstance(declared, dict)
    return declared


@pytest.mark.parametrize("probe", ["liveness", "readiness", "startup"])
def test_every_answer_comes_before_the_kubelet_hangs_up(
    manifest: Manifest, contract: dict[str, Any], probe: str
) -> None:
    """The slowest check and the overhead fit in timeoutSeconds."""
    timeouts = contract["timeouts"][probe]
    assert timeouts
    assert max(timeouts.values()) + OVERHEAD < manifest.probe(probe)["timeoutSeconds"]


def test_startup_has_time(manifest: Manifest, contract: dict[str, Any]) -> None:
    """What is certain is the delay and all periods but one; it is ten times what a start takes."""
    probe = manifest.probe("startup")
    budget = probe["initialDelaySeconds"] + (probe["failureThreshold"] - 1) * probe["periodSeconds"]
    assert budget >= 10 * contract["warm_up"]


def test_liveness_outlasts_a_blocked_loop(manifest: Manifest) -> None:
    """A stall of twenty seconds restarts nothing."""
    probe = manifest.probe("liveness")
    period = max(probe["periodSeconds"], probe["timeoutSeconds"])
    assert (probe["failureThreshold"] - 1) * period + probe["timeoutSeconds"] >= 20


def test_leaving_fits_the_grace_period(manifest: Manifest, contract: dict[str, Any]) -> None:
    """Drain, the longest request and the clean-up are done before SIGKILL."""
    graceful = manifest.option("--timeout-graceful-shutdown")
    assert graceful >= contract["longest_request"]
    needed = manifest.drain_delay() + graceful + CLEAN_UP + ROUNDING
    assert needed <= manifest.pod["terminationGracePeriodSeconds"]


def test_the_drain_outlasts_the_removal_of_the_endpoint(manifest: Manifest) -> None:
    """SIGTERM itself drains for long enough, so no preStop hook is needed, and there is none."""
    assert manifest.drain_delay() >= ENDPOINT_REMOVAL
    assert "lifecycle" not in manifest.container


def test_keep_alive_is_longer_than_that_of_load_balancers(manifest: Manifest) -> None:
    """No balancer sends a request into a connection that the server is just closing."""
    assert manifest.option("--timeout-keep-alive") > 60


def test_each_probe_asks_its_own_endpoint(manifest: Manifest) -> None:
    """Each on the port that the container names, and that uvicorn listens on."""
    (port,) = manifest.container["ports"]
    assert port["containerPort"] == manifest.option("--port")
    asked = {name: manifest.probe(name)["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/startupz", "port": port["name"]},
        "liveness": {"path": "/healthz", "port": port["name"]},
        "readiness": {"path": "/readyz", "port": port["name"]},
    }
