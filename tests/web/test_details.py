"""How much of itself a process shows to strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probekit import Unhealthy
from probekit.asgi import probe_app

from ._asking import PATHS, ask, make_probes
from ._troubled import SECRET, troubled

if TYPE_CHECKING:
    from probekit._web.render import Details

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("details", ["status", "none"])
@pytest.mark.parametrize("accept", ["application/json", "application/health+json", "text/plain"])
@pytest.mark.parametrize("path", ["/readyz", "/readyz/cache", "/readyz/mail", "/readyz/nothing"])
async def test_strangers_see_no_more_than_they_should(
    details: Details, accept: str, path: str
) -> None:
    """Neither texts nor details nor drain reasons are anywhere in a reduced body."""
    probes = troubled()
    probes.drain(reason="moving house", by="anna", lease=60)
    app = probe_app(probes, details=details)
    answer = await ask(app, path, query=b"exclude=unknown", headers={"accept": accept})
    told = [SECRET, "no connection", "tried", "0.4", "below", "ValueError", "house", "anna", "2026"]
    if details == "none":
        told += ["database", "balance"]
    assert [text for text in told if text in answer.text] == []
    assert answer.status in {200, 404, 503}


@pytest.mark.parametrize("accept", ["application/json", "application/health+json", "text/plain"])
async def test_the_text_of_an_exception_is_published_nowhere(accept: str) -> None:
    """Not even a full answer shows what a driver's exception said."""
    for path in ("/readyz", "/readyz/mail"):
        answer = await ask(probe_app(troubled()), path, headers={"accept": accept})
        assert SECRET not in answer.text
        assert "ValueError" in answer.text


@pytest.mark.parametrize(
    ("details", "accept", "body"),
    [
        ("none", "application/json", '{"status": "unhealthy", "probe": "readiness"}\n'),
        ("none", "application/health+json", '{"status": "fail"}\n'),
        ("none", "text/plain", "readyz check failed\n"),
        (
            "status",
            "application/json",
            '{"status": "unhealthy", "probe": "readiness", "draining": true, '
            '"checks": {"cache": {"status": "unhealthy", "critical": true}}}\n',
        ),
        (
            "status",
            "application/health+json",
            '{"status": "fail", "description": "readiness of this process", '
            '"output": "draining", "checks": {"cache": [{"status": "fail"}]}}\n',
        ),
        (
            "status",
            "text/plain",
            "[-]cache failed: reason withheld\n[-]draining\nreadyz check failed\n",
        ),
    ],
)
async def test_a_reduced_answer_is(details: Details, accept: str, body: str) -> None:
    """Names and statuses, or the status of the whole, in each form."""
    probes = make_probes()

    @probes.readiness
    async def cache() -> None:
        raise Unhealthy(SECRET)

    probes.drain(reason=SECRET)
    answer = await ask(probe_app(probes, details=details), "/readyz", headers={"accept": accept})
    assert answer.text == body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_without_details_no_check_can_be_asked_for(path: str, method: str) -> None:
    """404, the same for a check that there is and one that there is not, and neither runs."""
    probes = make_probes()
    ran: list[str] = []

    async def database() -> None:
        ran.append("database")

    probes.liveness(database)
    probes.readiness(database)
    probes.startup(database)
    app = probe_app(probes, details="none")
    answers = [await ask(app, path + tail, method) for tail in ("/database", "/nothing", "/a/b")]
    assert [answer.status for answer in answers] == [404] * 3
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        assert answers[0].json()["detail"] == "the checks are not shown one by one"
    assert ran == []
    assert (await ask(app, path + "/", method)).status == 200


async def test_names_without_texts_can_be_asked_for_one_by_one() -> None:
    """With names and statuses, a single check is answered with its name and status."""
    app = probe_app(troubled(), details="status")
    assert (await ask(app, "/readyz/cache")).json()["checks"] == {
        "cache": {"status": "unhealthy", "critical": True}
    }
