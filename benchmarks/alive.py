"""`probekit alive --pod`: what the platform pays each time that it runs it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.alive._stage import Stage
from tests.pod._workers import pod_environment

from benchmarks.figures import Figure, interleaved, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["alive"]

ROUNDS = 25
WORKERS = 4


def alive() -> list[Figure]:
    """Measure the command beside an interpreter that does nothing, and the judging alone."""
    commands = {
        "bare": ["-I", "-S", "-c", "pass"],
        "pass": ["-c", "pass"],
        "isolated": ["-I", "-m", "probekit", "alive", "--pod"],
        "command": ["-m", "probekit", "alive", "--pod"],
    }
    with staged() as (stage, environment):
        cost = interleaved(
            {name: cost_of(words, environment) for name, words in commands.items()}, rounds=ROUNDS
        )
        waited = interleaved(
            {
                name: cost_of(commands[name], environment, time.monotonic)
                for name in ("isolated", "pass")
            },
            rounds=ROUNDS,
        )
        judging = [judging_cost(stage) for _ in range(ROUNDS)]
    milliseconds = {name: median(values) for name, values in cost.items()}
    how = " / ".join(f"{milliseconds[name]:.0f}" for name in ("isolated", "pass", "bare"))
    return [
        Figure(
            name="python -I -m probekit alive --pod / python -c pass",
            measured=ratio(cost["isolated"], cost["pass"]),
            target=3.0,
            how=f"{how} ms of CPU (the last: python -I -S -c pass)",
        ),
        Figure(
            name="python -I -m probekit alive --pod, from start to exit",
            measured=median(waited["isolated"]),
            unit="ms",
            how=f"by the clock; worst of {ROUNDS} {max(waited['isolated']):.0f} ms, "
            f"python -c pass {median(waited['pass']):.0f} ms",
        ),
        Figure(
            name="python -m probekit alive --pod, without -I",
            measured=milliseconds["command"],
            unit="ms",
            how="CPU of the whole process",
        ),
        Figure(
            name=f"of that, judging {WORKERS} workers",
            measured=median(judging),
            unit="ms",
            target=2.0,
            how="CPU, in a process that runs already",
        ),
    ]


@contextmanager
def staged() -> Generator[tuple[Stage, dict[str, str]]]:
    """Yield a pod whose workers are well, and the environment that finds it."""
    with ExitStack() as stack:
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stage = stack.enter_context(Stage(runtime))
        for number in range(WORKERS):
            stage.worker(1_000_000 + number, stuck_after=3600.0)
        yield stage, pod_environment(runtime)


def children_cpu() -> float:
    """Return the seconds of CPU that the processes which have ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost_of(
    words: list[str], environment: dict[str, str], clock: Callable[[], float] = children_cpu
) -> Callable[[], float]:
    """Return what measures the milliseconds of a fresh interpreter: of CPU, or of another clock."""

    def measure() -> float:
        before = clock()
        subprocess.run(
            [sys.executable, *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
            cwd=os.path.sep,
        )
        return (clock() - before) * 1000

    return measure


def judging_cost(stage: Stage) -> float:
    """Return the milliseconds of CPU of one judgement."""
    began = time.process_time()
    if not stage.judged().alive:
        raise RuntimeError("the workers of the benchmark ought to be alive")
    return (time.process_time() - began) * 1000
