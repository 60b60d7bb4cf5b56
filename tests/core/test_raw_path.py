"""Paths of callers: one spelling or refused; patterns open what they say and nothing beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical import encode_segment
from gateway.core.raw_path import PathRefused, parse_pattern, split_path

_SURFACES = frozenset({"QUERY", "ADMIN"})
_BALANCES = ("v1", "wallet", "u1", "balances")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "v1/wallet",
        "/",
        "//v1",
        "/v1//wallet",
        "/v1/",
        "/v1/..",
        "/v1/../admin",
        "/v1/./wallet",
        "/v1/...",
        "/v1/%2e%2e/admin",
        "/v1/.%2e/admin",
        "/v1/%2E",
        "/v1/a%2fb",
        "/v1/a%2Fb",
        "/v1/a%5cb",
        "/v1/%252e%252e",
        "/v1/a\\b",
        "/v1/..\\admin",
        "/v1/a?b",
        "/v1/a%3fb",
        "/v1/a#b",
        "/v1/a%23b",
        "/v1/..;/admin",
        "/v1/a;b=c",
        "/v1/a%3Bb",
        "/v1/a%00",
        "/v1/a%0d%0aX-Evil:%201",
        "/v1/a\r\nX-Evil: 1",
        "/v1/a b",
        "/v1/a\x00",
        "/v1/%61dmin",
        "/v1/a%",
        "/v1/a%4",
        "/v1/a%zz",
        "/v1/%c0%ae%c0%ae",
        "/v1/%ff",
        "/v1/ü",
        "/v1/%EF%BC%8E%EF%BC%8E/admin",
        "/v1/%E2%80%A5",
        "/v1/a%EF%BC%8Fb",
        "/v1/%20",
        "http://evil.example/v1",
        "//evil.example/v1",
        "/v1/" + "a" * 2048,
    ],
)
def test_a_path_that_could_mean_another_is_refused(path: str) -> None:
    """Steps, doubled and encoded structure, over-encoding, control characters, look-alikes of dots and slashes."""
    with pytest.raises(PathRefused) as refused:
        split_path(path)
    assert len(path) < 4 or path not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["/v1/wallet/u1/balances", "/v1/a.b/c..d/~e", "/v1/a%20b", "/v1/Zo%C3%AB", "/v1/a%40b@c:d", "/health"]
)
def test_a_plain_path_is_split_unchanged(path: str) -> None:
    """Segments stay encoded: the checked path is the sent path."""
    assert path == "/" + "/".join(split_path(path))


@given(st.text(min_size=1, max_size=8))
def test_no_encoded_segment_becomes_two_or_a_step(text: str) -> None:
    """Any segment is refused, or stays one segment that is not a dot segment."""
    try:
        segments = split_path("/v1/" + encode_segment(text) + "/end")
    except (PathRefused, ValueError):
        return
    assert 3 == len(segments)
    assert set(segments[1]) - set(".")


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("GET /v1/wallet/*/balances", True),
        ("QUERY GET /v1/wallet/*/balances", True),
        ("GET /v1/wallet/u1/balances", True),
        ("GET /*/*/*/*", True),
        ("ADMIN GET /v1/wallet/*/balances", False),
        ("POST /v1/wallet/*/balances", False),
        ("GET /v1/wallet/*", False),
        ("GET /v1/wallet/*/balances/*", False),
        ("GET /v1/wallet/u2/balances", False),
        ("GET /V1/wallet/*/balances", False),
    ],
)
def test_a_pattern_opens_what_it_says(pattern: str, fits: bool) -> None:
    """The method, every segment, one for each asterisk, and the surface where one is named."""
    assert fits is parse_pattern(pattern, _SURFACES).fits("QUERY", "GET", _BALANCES)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "GET",
        "/v1/a",
        "get /v1/a",
        "HEAD /v1/a",
        "GET v1/a",
        "GET /v1/../a",
        "GET /v1/a*",
        "OTHER GET /a",
        "GET /a b c",
    ],
)
def test_a_pattern_that_cannot_be_read_opens_nothing(pattern: str) -> None:
    """It is refused where it is read."""
    with pytest.raises(PathRefused):
        parse_pattern(pattern, _SURFACES)
