"""Strings to be signed, against vectors made with another implementation."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.canonical import (
    InvalidCanonicalPart,
    encode_segment,
    gamification_request,
    gamification_socket,
    operator_request,
    operator_request_five,
)
from gateway.core.ed25519 import load_signing_key
from gateway.core.encoding import b64url_encode
from gateway.core.hmac_sha256 import header_value
from gateway.core.types import Environment, OperatorCode, UnixSeconds
from tests.core.vectors import signing

_VECTORS = signing()
_SECRET = _VECTORS["tenant"]["hmac_secret"].encode()
_AT = UnixSeconds(1704067200)


@pytest.mark.parametrize("vector", _VECTORS["requests"], ids=lambda v: f"{v['method']} {v['path']}")
def test_gamification_requests_match_the_vectors(vector: dict[str, Any]) -> None:
    """String and header value are those of the vector."""
    canonical = gamification_request(
        vector["method"], vector["path"], UnixSeconds(int(vector["timestamp"])), vector["body"].encode()
    )
    expected = (vector["canonical"].encode(), vector["x_signature"])
    assert (canonical, header_value(_SECRET, canonical)) == expected


@pytest.mark.parametrize("vector", _VECTORS["websocket"], ids=lambda v: v["path"])
def test_sockets_match_the_vectors(vector: dict[str, Any]) -> None:
    """Three parts and no line feed at the end."""
    canonical = gamification_socket(vector["path"], UnixSeconds(int(vector["timestamp"])))
    assert (canonical, header_value(_SECRET, canonical)) == (vector["canonical"].encode(), vector["signature"])


@pytest.mark.parametrize("vector", _VECTORS["operator_api"], ids=lambda v: f"{v['method']} {v['path']}")
def test_operator_requests_match_the_vectors(vector: dict[str, Any]) -> None:
    """The six-part form and the older five-part form, with their signatures."""
    key = load_signing_key(_VECTORS["keys"]["operator"]["private_pem"].encode())
    code, at = OperatorCode(vector["operator_code"]), UnixSeconds(int(vector["timestamp"]))
    method, path, body = vector["method"], vector["path"], vector["body"].encode()
    six = operator_request(
        operator_code=code,
        environment=Environment(vector["environment"]),
        at=at,
        method=method,
        path=path,
        body=body,
    )
    five = operator_request_five(operator_code=code, at=at, method=method, path=path, body=body)
    older = vector["older_generation"]
    expected = (vector["canonical"], vector["signature"], older["canonical"], older["signature"])
    assert (six.decode(), b64url_encode(key.sign(six)), five.decode(), b64url_encode(key.sign(five))) == expected


def test_the_reference_values_of_the_vendor_notes_hold() -> None:
    """The three values computed in gamification.md 1.4 come out."""
    body = b'{"tenant_id":"tenant-prod-001","leaderboard_id":"xp-weekly","user_id":"user-123","score_delta":50}'
    values = (
        header_value(b"test-secret", gamification_request("POST", "/v1/events", _AT, body)),
        header_value(b"test-secret", gamification_request("GET", "/health", _AT, b"")),
        header_value(b"test-secret", gamification_socket("/v1/leaderboards/tenant-prod-001/xp-weekly/ws", _AT)),
    )
    assert values == (
        "hmac-sha256=6eeb3f0498d9176c6e4297867f6a877a3a06f4d45dc2e9ea2fc0a0496e7bb186",
        "hmac-sha256=fe6974dee46754b0a626a7ddd28e4b406d0e4bc660e4e0262b2c2a3315bc2a0c",
        "hmac-sha256=9bf8d6952777e96a3db9e9c4fdd052cc2de62df5dd3d02d1beb7399ce356e31e",
    )


@pytest.mark.parametrize("path", ["", "v1", "/a\nb", "/a\rb", "/a\x00b", "/a?b=1", "/a#b", "/a b", "/é", "/a\n"])
def test_paths_that_are_not_as_sent_are_refused(path: str) -> None:
    """No line break, NUL, query, fragment, space or raw Unicode gets into a signed path."""
    with pytest.raises(InvalidCanonicalPart):
        gamification_request("GET", path, _AT, b"")
    with pytest.raises(InvalidCanonicalPart):
        gamification_socket(path, _AT)
    with pytest.raises(InvalidCanonicalPart):
        operator_request_five(operator_code=OperatorCode("acme"), at=_AT, method="GET", path=path, body=b"")


@pytest.mark.parametrize("method", ["", "get", "GE\nT", "GET\n", "GET ", "G\x00T", "PÖST"])
def test_other_methods_are_refused(method: str) -> None:
    """Only upper-case letters make a method."""
    with pytest.raises(InvalidCanonicalPart):
        gamification_request(method, "/", _AT, b"")


@pytest.mark.parametrize("code", ["", "ac\nme", "ac\rme", "ac\x00me", "acme\n"])
def test_operator_codes_cannot_forge_a_part(code: str) -> None:
    """A line break or NUL in the operator code is refused in both forms."""
    with pytest.raises(InvalidCanonicalPart):
        operator_request(
            operator_code=OperatorCode(code), environment=Environment.PROD, at=_AT, method="GET", path="/", body=b""
        )
    with pytest.raises(InvalidCanonicalPart):
        operator_request_five(operator_code=OperatorCode(code), at=_AT, method="GET", path="/", body=b"")


@pytest.mark.parametrize("at", [-1, 1.5, True, 1704067200.0])
def test_timestamps_are_whole_seconds(at: Any) -> None:
    """Anything but a whole number of seconds since 1970 is refused."""
    with pytest.raises(InvalidCanonicalPart):
        gamification_socket("/", at)


def test_a_body_with_line_feeds_is_signed_as_it_is() -> None:
    """The body is the last part: nothing in it can forge another."""
    assert gamification_request("PUT", "/x", UnixSeconds(1), b"a\n\x00\r\xff") == b"PUT\n/x\n1\na\n\x00\r\xff"


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("user-1_a.b~c", "user-1_a.b~c"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "%2E%2E%2E"),
        ("..a", "..a"),
        ("a/b", "a%2Fb"),
        ("%2f", "%252f"),
        ("a?b#c", "a%3Fb%23c"),
        ("é 🎮", "%C3%A9%20%F0%9F%8E%AE"),
        ("a\nb\x00", "a%0Ab%00"),
        ("a:b@c;d=e+f&g", "a%3Ab%40c%3Bd%3De%2Bf%26g"),
    ],
)
def test_segments_are_encoded_and_never_interpreted(raw: str, encoded: str) -> None:
    """Path tricks in an id become the id's own text."""
    assert encode_segment(raw) == encoded


@pytest.mark.parametrize("raw", ["", "\ud800"])
def test_segments_that_cannot_be_said_are_refused(raw: str) -> None:
    """An empty segment would vanish; a lone surrogate has no UTF-8."""
    with pytest.raises(InvalidCanonicalPart):
        encode_segment(raw)


@given(st.text(min_size=1))
def test_a_segment_decodes_to_what_it_was(raw: str) -> None:
    """Encoding loses nothing, stays one segment, is no dot step, and can be signed."""
    encoded = encode_segment(raw)
    is_one_step = "/" not in encoded and encoded.strip(".") != ""
    canonical = gamification_request("GET", "/" + encoded, _AT, b"")
    assert (unquote(encoded, errors="strict"), is_one_step, canonical.count(b"\n")) == (raw, True, 3)
