"""What the query and the Accept header ask for."""

from __future__ import annotations

from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probekit._web.question import HEALTH_JSON, JSON, TEXT, Question, accepted, parse_query

MEDIA = {JSON, HEALTH_JSON, TEXT}


def reference(query: bytes) -> list[str]:
    """Return the excluded names as an independent, slow reader of the query finds them."""
    names: list[str] = []
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_to_bytes(key.replace(b"+", b" ")) != b"exclude":
            continue
        name = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
        if name and name not in names:
            names.append(name)
    return names


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_escaped_names_are_read_back_as_they_were_written(names: list[str]) -> None:
    """Whatever names a client escapes, the same come out, once each, in order."""
    query = "&".join(f"exclude={quote_plus(name)}" for name in names).encode()
    assert list(parse_query(query).exclude) == [name for name in dict.fromkeys(names) if name]


@given(st.text(st.characters(codec="ascii")).map(str.encode))
@example(b"exclude=%ff&exclude=%00&exclude==&&;")
@example(b"exclude=a;exclude=b")
@example(b"%65xclude=a+b&EXCLUDE=c")
def test_every_ascii_query_is_read_like_the_reference_does(query: bytes) -> None:
    """The names of any ASCII query are those that an independent parser finds."""
    assert list(parse_query(query).exclude) == reference(query)


@given(st.binary())
@example(b"\xff\xfe=\x00&verbose&exclude=\x80")
@example(b"exclude=a&" * 6553)
def test_no_byte_string_is_too_odd_to_be_a_query(query: bytes) -> None:
    """The parser never raises, and gives no empty or repeated name."""
    question = parse_query(query)
    assert all(question.exclude)
    assert len(set(question.exclude)) == len(question.exclude)


def test_a_name_may_be_written_in_raw_utf_8() -> None:
    """A client that does not escape, such as curl, excludes the check of that name too."""
    assert parse_query("exclude=café".encode()).exclude == ("café",)


@pytest.mark.parametrize(
    ("query", "question"),
    [
        (b"", Question()),
        (b"verbose", Question(verbose=True)),
        (b"verbose=", Question(verbose=True)),
        (b"verbose=1", Question(verbose=True)),
        (b"verbose=0", Question()),
        (b"verbose=false", Question()),
        (b"verbose=0&verbose", Question(verbose=True)),
        (b"exclude", Question()),
        (b"exclude=&exclude=a", Question(("a",))),
        (b"exclude=a&verbose&exclude=b&exclude=a", Question(("a", "b"), verbose=True)),
        (b"exclude=a,b", Question(("a,b",))),
        (b"other=1", Question()),
    ],
)
def test_a_query_asks_for(query: bytes, question: Question) -> None:
    """Exclusions are collected, verbose is a flag, all else is ignored."""
    assert parse_query(query) == question


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),  # the kubelet, curl, Envoy
        ("text/plain, text/*, */*", TEXT),  # Consul
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", JSON),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            TEXT,
        ),
        ("application/health+json", HEALTH_JSON),
        ("APPLICATION/HEALTH+JSON", HEALTH_JSON),
        ("application/health+json, application/json", HEALTH_JSON),
        ("application/health+json;q=0.5, application/json", JSON),
        ("application/health+json ; q=0.9 , text/plain;q=0.8", HEALTH_JSON),
        ("text/*", TEXT),
        ("application/*", JSON),
        ("text/html", JSON),
        ("text/plain;q=0", JSON),
        ("text/plain;q=-1", JSON),
        ("text/plain;q=2, application/json", TEXT),
        ("text/plain;q=nan", TEXT),
        ("text/plain;q=1e999", TEXT),
        ("text/plain;q=much, */*;q=0.5", TEXT),
        ("text/plain;charset=utf-8;q=0.1, application/json;q=0.2", JSON),
        ("text/plain; Q=0.1, application/json;q=0.2", JSON),
        (";;;,,,q=1;=", JSON),
        ("text/plain;" * 5000, TEXT),
    ],
)
def test_the_best_accepted_form_is_chosen(accept: str | None, media: str) -> None:
    """The highest quality wins, then the first; what cannot be had means JSON."""
    assert accepted(accept) == media


parameters = st.sampled_from(["", ";q=0", ";q=0.5", ";q=1", ";q=", ";q=x", ";level=1", ";q=inf"])
ranges = st.builds(
    "{}{}".format, st.sampled_from([*sorted(MEDIA), "*/*", "text/*", "text/html", ""]), parameters
)


@given(st.one_of(st.none(), st.text(), st.lists(ranges).map(", ".join)))
def test_every_accept_header_gets_a_form_that_there_is(accept: str | None) -> None:
    """Whatever the header says, the answer has one of three media types."""
    assert accepted(accept) in MEDIA


@given(st.lists(ranges).map(", ".join), st.sampled_from(sorted(MEDIA)))
def test_a_form_that_is_asked_for_alone_is_given(noise: str, media: str) -> None:
    """One wish with full quality before all others is fulfilled."""
    assert accepted(f"{media}, {noise}") == media
