"""What a probe is asked to leave out, and queries that ask for nonsense."""

from __future__ import annotations

import pytest

from probekit.asgi import probe_app

from ._asking import ask, make_probes
from ._troubled import troubled

pytestmark = pytest.mark.anyio


async def test_excluded_checks_are_left_out_and_do_not_run() -> None:
    """What is excluded neither runs, nor stands in the body, nor fails the probe."""
    probes = make_probes()
    ran: list[str] = []

    @probes.readiness
    async def expensive() -> None:
        ran.append("expensive")

    answer = await ask(probe_app(troubled()), "/readyz", query=b"exclude=cache&exclude=mail")
    assert (answer.status, list(answer.json()["checks"])) == (200, ["database", "balance"])
    assert "warnings" not in answer.json()
    await ask(probe_app(probes), "/readyz", query=b"exclude=expensive")
    assert ran == []


@pytest.mark.parametrize(
    ("accept", "where"),
    [("application/json", "warnings"), ("application/health+json", "notes")],
)
async def test_an_unknown_exclusion_is_a_warning(accept: str, where: str) -> None:
    """A name that no check has is told in the body, and the answer is otherwise the same."""
    answer = await ask(
        probe_app(troubled()),
        "/readyz",
        query=b"exclude=cach&exclude=cache",
        headers={"accept": accept},
    )
    assert answer.status == 200
    assert answer.json()[where] == ["exclude: readiness has no check 'cach'"]


async def test_an_unknown_exclusion_is_a_warning_in_text_too() -> None:
    """A line of its own, that no odd name can break."""
    answer = await ask(
        probe_app(make_probes()), "/readyz", query=b"verbose&exclude=x%0a%5b%2b%5dfake%20ok"
    )
    assert answer.text.splitlines()[:2] == [
        "warn: exclude: readiness has no check 'x\\n[+]fake ok'",
        "readyz check passed",
    ]


async def test_ten_thousand_exclusions_get_a_short_answer() -> None:
    """A flood of names is answered with the first ten and a count."""
    query = b"&".join(b"exclude=%d" % number for number in range(10_000))
    answer = await ask(probe_app(troubled()), "/readyz", query=query)
    assert answer.status == 503
    assert len(answer.json()["warnings"]) == 11
    assert answer.json()["warnings"][-1] == "exclude: and 9990 more unknown names"
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    "query",
    [b"exclude=" + b"x" * 65_000, b"\xff\xfe&exclude=\xff%ff", b"&" * 65_000, b"exclude=%00%u12%"],
    ids=["long", "not UTF-8", "separators", "half escapes"],
)
async def test_a_monstrous_query_is_answered(query: bytes) -> None:
    """Whatever the query, the answer is the probe's and small."""
    answer = await ask(probe_app(make_probes()), "/readyz", query=query)
    assert answer.status == 200
    assert len(answer.body) < 500
