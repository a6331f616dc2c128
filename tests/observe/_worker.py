"""One worker of a server with several: does what its standard input says, one answer a line."""

from __future__ import annotations

import json
import os
import sys

import anyio
from prometheus_client import CollectorRegistry, values

from probekit import Probe, Probes, Unhealthy
from probekit.observe.prometheus import instrument

from ._exposition import FakeClock


def main() -> None:
    """Obey until the input ends; an argument is a number to go by instead of the process id."""
    if sys.argv[1:]:
        values.ValueClass = values.MultiProcessValue(lambda: sys.argv[1])  # type: ignore[no-untyped-call]  # no annotations
    clock = FakeClock()
    probes = Probes(clock=clock, observers=[])
    metrics = instrument(probes, registry=CollectorRegistry())
    error: Exception | None = None

    @probes.readiness
    async def database() -> None:
        if error is not None:
            raise error

    for line in sys.stdin:
        command, *words = line.split()
        answer: object = None
        match command:
            case "check":
                error = Unhealthy("gone") if words == ["unhealthy"] else None
                clock.now += 10
                anyio.run(probes.report)
            case "answer":
                probes.service.answered(Probe.READINESS, 200)
            case "busy":
                traffic = probes.service.traffic
                traffic.requests.clear()
                traffic.requests.update({n: ({}, 0.0) for n in range(int(words[0]))})
            case "keep":
                probes.service._keep()
            case "leave":
                probes.service._part()
            case "wait":
                clock.now += float(words[0])
            case "drain":
                probes.drain(lease=float(words[0]) if words else None)
            case "fork":
                answer = in_a_child(probes)
            case "render":
                content_type, body = metrics.render(" ".join(words))
                answer = [content_type, body.decode()]
        print(json.dumps(answer), flush=True)  # noqa: T201 - the test reads it


def in_a_child(probes: Probes) -> int:
    """Answer a probe in a forked process, as one that was loaded before the workers were made."""
    pid = os.fork()
    if pid == 0:
        probes.service.answered(Probe.READINESS, 200)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
