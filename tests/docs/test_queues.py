"""The recipes for Celery, arq and RQ, as docs/how-to/workers.md shows them, under their workers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.checks._starting import redis_of
from tests.e2e.clients import get
from tests.e2e.servers import Server
from tests.packaging._project import ROOT
from tests.waiting import PATIENCE, free_port, wait_until

from ._blocks import blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.checks._servers import RedisServer

WITH_ARQ = ROOT / ".venv-arq" / "bin" / "python"
"""An environment of its own: arq wants an older redis than Celery."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    """What the jobs go through."""
    with redis_of(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Recipe:
    """The code of a recipe in a module of its own, with a worker that runs it.

    Args:
        framework: Whose it is.
        directory: Where the module is put, as ``recipe``.
        more: What an application adds: its tasks, and where Redis is.
        python: What runs it.
        **instead: What stands in the place of something in the recipe.
    """

    def __init__(
        self,
        framework: str,
        directory: Path,
        more: str,
        *,
        python: Path | str = sys.executable,
        **instead: str,
    ) -> None:
        [source] = [
            block.text
            for block in blocks_of(ROOT / "docs" / "how-to" / "workers.md")
            if block.word == "skip" and block.argument.startswith(f"needs {framework};")
        ]
        self.port = free_port()
        for old, new in {"port=8080": f"port={self.port}", **instead}.items():
            assert source.count(old) == 1, f"the recipe for {framework} has no {old}, or several"
            source = source.replace(old, new)
        (directory / "recipe.py").write_text(f"{source}\n\n{more}")
        self._directory = directory
        self._python = str(python)

    def worker(self, *command: str) -> Server:
        """Return the worker, not yet started."""
        return Server(
            [self._python, "-m", *command],
            port=self.port,
            measured=False,
            PYTHONPATH=str(self._directory),
        )

    def run(self, code: str) -> str:
        """Run code beside the worker, as a client of the queue, and return what it prints."""
        done = subprocess.run(
            [self._python, "-c", f"import recipe\n{code}"],
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def until(
        self,
        check: str,
        holds: Callable[[dict[str, Any]], bool],
        what: str,
        *,
        path: str = "/readyz",
    ) -> int:
        """Return the status of an answer in which something holds of a check."""
        statuses: list[int] = []

        def asked() -> bool:
            answer = get(self.port, path)
            statuses.append(answer.status)
            return holds(answer.json()["checks"].get(check, {}))

        wait_until(asked, what)
        return statuses[-1]


CELERY = """
from pathlib import Path

from celery import Celery

app = Celery("recipe", broker="{url}")


@app.task
def work(well):
    if not well:
        raise RuntimeError("not well")


@app.task
def touch(path):
    Path(path).touch()
"""


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_celery(pool: str, redis_server: RedisServer, tmp_path: Path) -> None:
    """Tasks are counted; the consumer is unready while its broker is away, though alive."""
    pytest.importorskip("celery", reason="no Celery; get it with: pip install 'celery[redis]'")
    recipe = Recipe(
        "Celery", tmp_path, CELERY.format(url=redis_server.url), **{"max_age=30": "max_age=5"}
    )
    command = ["celery", "-A", "recipe", "worker", "-P", pool, "-c", "2", "-Q", pool]
    with recipe.worker(*command) as worker:
        assert recipe.until("consumer", beaten, "it beats") == 200
        recipe.run(f"[recipe.work.apply_async([True], queue={pool!r}) for _ in range(3)]")
        assert recipe.until("tasks", lambda tasks: counted(tasks) == (3, 0), "all are done") == 200
        recipe.run(f"[recipe.work.apply_async([False], queue={pool!r}) for _ in range(9)]")
        assert recipe.until("tasks", is_("unhealthy"), "most have failed") == 503
        redis_server.crash()
        recipe.until("consumer", is_("unhealthy"), "it misses its broker")
        assert get(recipe.port, "/healthz").status == 200
        redis_server.start()
        recipe.until("consumer", is_("healthy"), "it has its broker again")
        worker.stop()
        assert worker.wait() == 0


def test_celery_with_processes(redis_server: RedisServer, tmp_path: Path) -> None:
    """The main process is the one to ask; what its children do it does not count."""
    pytest.importorskip("celery", reason="no Celery; get it with: pip install 'celery[redis]'")
    recipe = Recipe("Celery", tmp_path, CELERY.format(url=redis_server.url))
    command = ["celery", "-A", "recipe", "worker", "-P", "prefork", "-c", "2", "-Q", "prefork"]
    with recipe.worker(*command) as worker:
        assert recipe.until("consumer", beaten, "it beats") == 200
        done = tmp_path / "done"
        recipe.run(f"recipe.touch.apply_async([{str(done)!r}], queue='prefork')")
        wait_until(done.exists, "the task is done")
        assert recipe.until("tasks", is_("healthy"), "it is asked") == 200
        assert counted(get(recipe.port, "/readyz").json()["checks"]["tasks"]) == (0, 0)
        worker.stop()
        assert worker.wait() == 0


ARQ = """
from arq.connections import RedisSettings

WorkerSettings.redis_settings = redis_settings = RedisSettings(port={port})


async def send(*addresses):
    from arq import create_pool

    pool = await create_pool(redis_settings)
    for address in addresses:
        await pool.enqueue_job("send_mail", address)
"""


@pytest.mark.skipif(
    not WITH_ARQ.exists(), reason="no arq; ./scripts/test without arguments installs it"
)
def test_arq(redis_server: RedisServer, tmp_path: Path) -> None:
    """Jobs are counted, the loop beats, and the backlog is known."""
    bad = '        if address == "nobody":\n            raise ValueError(address)\n'
    more = ARQ.format(port=redis_server.port)
    recipe = Recipe("arq", tmp_path, more, python=WITH_ARQ, **{"        ...\n": bad})
    with recipe.worker("arq", "recipe.WorkerSettings") as worker:
        assert recipe.until("backlog", is_("healthy"), "it is known") == 200
        recipe.run('recipe.asyncio.run(recipe.send(*["somebody"] * 9))')
        recipe.until("mails", lambda mails: counted(mails) == (9, 0), "all are sent")
        recipe.run('recipe.asyncio.run(recipe.send(*["nobody"] * 3))')
        assert recipe.until("mails", is_("degraded"), "some are not sent") == 200
        assert recipe.until("loop", beaten, "it beats", path="/healthz") == 200
        worker.stop()
        assert worker.wait() == 0


RQ = """
def send(address):
    if address == "nobody":
        raise ValueError(address)
"""


def test_rq(redis_server: RedisServer, tmp_path: Path) -> None:
    """The worker beats, and the jobs that failed are known."""
    pytest.importorskip("rq", reason="no RQ; get it with: pip install rq")
    recipe = Recipe("RQ", tmp_path, RQ, **{"Redis()": f"Redis(port={redis_server.port})"})
    recipe.run('[recipe.queue.enqueue(recipe.send, name) for name in ("somebody", "nobody")]')
    command = ["rq.cli", "worker", "--url", redis_server.url, "--worker-class"]
    with recipe.worker(*command, "recipe.BeatingWorker", "mail") as worker:
        failed = "print(recipe.queue.failed_job_registry.count)"
        wait_until(lambda: recipe.run(failed) == "1", "one has failed")
        recipe.until("failed", lambda failed: value(failed) == 1, "that is known")
        assert recipe.until("backlog", lambda backlog: value(backlog) == 0, "none is left") == 200
        assert recipe.until("worker", beaten, "it beats", path="/healthz") == 200
        worker.stop()
        assert worker.wait() == 0


def is_(status: str) -> Callable[[dict[str, Any]], bool]:
    """Return whether a check has that status."""
    return lambda check: check.get("status") == status


def beaten(check: dict[str, Any]) -> bool:
    """Whether a `Heartbeat` has been beaten; until then it passes for a while."""
    return bool(check.get("detail", {}).get("loops"))


def value(check: dict[str, Any]) -> float | None:
    """Return the number of a `Level`, if it has been fetched."""
    number: float | None = check.get("detail", {}).get("value")
    return number


def counted(check: dict[str, Any]) -> tuple[int, int]:
    """Return how often a `Progress` succeeded and failed."""
    detail = check.get("detail", {})
    return detail.get("successes", 0), detail.get("failures", 0)
