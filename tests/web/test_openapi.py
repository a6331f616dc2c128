"""A real server against `openapi.json`: schemathesis makes up requests and reads the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.e2e.clients import get
from tests.e2e.servers import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.servers import Server

HERE = Path(__file__).parent

schema = schemathesis.openapi.from_dict(json.loads((HERE / "openapi.json").read_text()))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve the endpoints for this module's tests."""
    with serve(HERE / "_app.py") as server:
        yield server


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_answer_is_one_that_the_document_describes(
    case: schemathesis.Case[Any], server: Server
) -> None:
    """Status, media type, headers and body are documented, for good requests and bad ones."""
    response = case.call(base_url=f"http://127.0.0.1:{server.port}", timeout=10)
    excluded: list[Any] = [not_a_server_error]  # 503 is what a failing probe is answered with
    if case.method == "POST":
        excluded.append(positive_data_acceptance)  # no pattern says which characters are printable
    else:
        excluded.append(negative_data_rejection)  # a probe ignores what it does not know
    case.validate_response(response, excluded_checks=excluded)
    assert response.status_code != 500


def test_the_server_is_whole_after_all_that(server: Server) -> None:
    """It lives, and nobody found a way to crash it or to make it log a traceback."""
    assert get(server.port, "/healthz").status == 200
    assert "Traceback" not in server.log()
