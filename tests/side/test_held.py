"""What a side port says of real servers that stand still, and what their logs do."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import get
from tests.e2e.servers import lasting_port, serve
from tests.waiting import PATIENCE, wait_until

from ._asking import ask, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

    from ._asking import Answer

pytestmark = pytest.mark.timeout(90)

APPS = Path(__file__).parent / "apps"
THREADS = 4
WSGI = {
    "gunicorn-gthread": ["-w", "1", "--threads", str(THREADS), "--no-control-socket"],
    "waitress": ["--threads", str(THREADS)],
    "granian-wsgi": ["--blocking-threads", str(THREADS)],
}


def answers(port: int, path: str, status: int) -> Answer:
    """Return the first answer with that status."""
    found: list[Answer] = []

    def asked() -> bool:
        with suppress(OSError):
            found.append(ask(port, path))
        return bool(found) and found[-1].status == status

    wait_until(asked, f"{path} answers {status}")
    return found[-1]


@contextmanager
def asking(server: Server, path: str, release: Path, count: int = 1) -> Iterator[None]:
    """Send requests that stand still until the block is left."""

    def one() -> None:
        with suppress(OSError):
            get(server.port, path, patience=PATIENCE)

    threads = [Thread(target=one, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        release.touch()
        for thread in threads:
            thread.join(PATIENCE)
        release.unlink()


HOLDS = {
    "/sleep": ("blocked in a call at tests/holding.py:", ")"),
    "/compute": ("computing at tests/holding.py:", ")"),
    "/acquire": ("blocked in a call at tests/holding.py:", ")"),
    "/receive": ("blocked in a call at tests/holding.py:", ")"),
    "/readyz": ("blocked in a call at tests/holding.py:", "(check 'heedless')"),
}


@pytest.mark.parametrize("on", ["uvicorn-asyncio", "uvicorn-uvloop", "hypercorn-trio"])
def test_a_loop_that_is_held_fails_liveness_with_its_place(on: str, tmp_path: Path) -> None:
    """File and line, the cause, and the check if it is one; and it passes when it moves again."""
    side, release = lasting_port(), tmp_path / "release"
    with serve(APPS / "held.py", on, SIDE_PORT=str(side), RELEASE=str(release)) as server:
        for path, (cause, end) in HOLDS.items():
            answers(side, "/healthz", 200)
            with asking(server, path, release):
                message = answers(side, "/healthz", 503).message
            assert message is not None
            assert message.startswith("the event loop has stood still for ")
            assert cause in message
            assert message.endswith(end)
            if path != "/compute":  # a machine that is busy with others lets nobody compute
                assert float(message.split()[7]) < 3.0


@pytest.mark.parametrize("on", WSGI)
def test_threads_in_a_deadlock_fail_liveness_with_all_their_stacks(on: str, tmp_path: Path) -> None:
    """The answer has the place, readiness too; who asks for more, and the log, get all stacks."""
    side, release = lasting_port(), tmp_path / "release"
    with serve(
        APPS / "deadlock.py", on, *WSGI[on], SIDE_PORT=str(side), RELEASE=str(release)
    ) as server:
        wait_until(lambda: listens(side), "it listens")
        with asking(server, "/lock", release, THREADS):
            for path in ("/healthz", "/readyz"):
                message = answers(side, path, 503).message
                assert message is not None
                assert message.startswith("the application has stood still for ")
                # granian's threads are not Python's: nobody knows what they do.
                cause = "" if on == "granian-wsgi" else ", blocked in a call"
                assert f"{THREADS} threads are busy with the same requests{cause} at " in message
                assert "deadlock.py:" in message
            # One for all, since all stand at the same place.
            wait_until(lambda: "in application: " in server.log(), "the stack is shown")
            assert server.log().count("in application: ") == 1
            assert server.log().count(", GET /lock:\n") == THREADS
            told = ask(side, "/healthz?verbose").body.decode()
            assert told.startswith("[-]the application has stood still for ")
            assert told.count(", GET /lock:\n") == THREADS
            assert told.count(" in application: ") == 1
            assert told.endswith("\nhealthz check failed\n")
        answers(side, "/healthz", 200)
        wait_until(lambda: " moves again" in server.log(), "it is over")


def test_a_deadlock_is_told_to_nobody_without_details(tmp_path: Path) -> None:
    """With ``details="none"`` the answer is the verdict alone; the log has it all."""
    side, release, on = lasting_port(), tmp_path / "release", "gunicorn-gthread"
    environ: Any = {"SIDE_PORT": str(side), "RELEASE": str(release), "DETAILS": "none"}
    with serve(APPS / "deadlock.py", on, *WSGI[on], **environ) as server:
        wait_until(lambda: listens(side), "it listens")
        with asking(server, "/lock", release, THREADS):
            stuck = answers(side, "/healthz", 503)
            assert stuck.json() == {"status": "unhealthy", "probe": "liveness"}
            assert ask(side, "/healthz?verbose").body == b"healthz check failed\n"
            wait_until(lambda: "deadlock.py:" in server.log(), "the log has the place")


def test_the_stacks_are_told_to_whoever_may_turn_the_drain(tmp_path: Path) -> None:
    """Others, here somebody behind a proxy, read the place and where the rest is."""
    side, release, on = lasting_port(), tmp_path / "release", "uvicorn-asyncio"
    with serve(APPS / "held.py", on, SIDE_PORT=str(side), RELEASE=str(release)) as server:
        answers(side, "/healthz", 200)
        assert ask(side, "/healthz?verbose").body == b"healthz check passed\n"
        with asking(server, "/sleep", release):
            answers(side, "/healthz", 503)
            wait_until(lambda: "holding.py:" in server.log(), "the stack has been read")
            told = ask(side, "/healthz?verbose").body.decode().splitlines()
            withheld = ask(side, "/healthz?verbose", "X-Real-IP: 192.0.2.1").body.decode()
        assert "blocked in a call at tests/holding.py:" in told[0]
        assert "tests/holding.py:" in told[-2]
        assert " in run_asgi: " in "".join(told)
        assert withheld.splitlines()[1:] == [
            "the stack stands in the log; it is told here to whoever may turn the drain",
            "healthz check failed",
        ]


def test_a_worker_in_a_deadlock_is_replaced(tmp_path: Path) -> None:
    """Another is started, which serves; the side port is the new worker's."""
    side, release, on = lasting_port(), tmp_path / "release", "gunicorn-gthread"
    environ: Any = {"SIDE_PORT": str(side), "RELEASE": str(release), "ON_STUCK": "exit"}
    environ |= {"PROBEKIT_SCOPE": "pod", "PROBEKIT_RUNTIME_DIR": str(tmp_path)}
    with serve(APPS / "deadlock.py", on, *WSGI[on], "--timeout", "60", **environ) as server:
        wait_until(lambda: listens(side), "it listens")
        with asking(server, "/lock", release, THREADS):
            wait_until(lambda: " ends (status 70)" in server.log(), "it ends itself")
            assert get(server.port, "/").status == 200
            answers(side, "/healthz", 200)
