"""HMAC-SHA256 against Wycheproof's vectors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.hmac_sha256 import header_value, sign_raw, verify
from tests.core.vectors import wycheproof

_FULL = [test for group, test in wycheproof("hmac-sha256") if group["tagSize"] == 256]
_TRUNCATED = [test for group, test in wycheproof("hmac-sha256") if group["tagSize"] == 128]


def _parts(test: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    return bytes.fromhex(test["key"]), bytes.fromhex(test["msg"]), bytes.fromhex(test["tag"])


@pytest.mark.parametrize("test", _FULL, ids=lambda test: f"tc{test['tcId']}-{test['result']}")
def test_full_tags_verify_exactly_when_valid(test: dict[str, Any]) -> None:
    """Every valid tag is accepted and made alike; every invalid one is refused."""
    key, message, tag = _parts(test)
    is_valid = test["result"] == "valid"
    assert (verify(key, message, tag), sign_raw(key, message) == tag) == (is_valid, is_valid)


@pytest.mark.parametrize("test", _TRUNCATED, ids=lambda test: f"tc{test['tcId']}-{test['result']}")
def test_truncated_tags_are_refused(test: dict[str, Any]) -> None:
    """A tag of 16 bytes is refused even where its bytes are right."""
    key, message, tag = _parts(test)
    is_prefix = sign_raw(key, message).startswith(tag)
    assert (verify(key, message, tag), is_prefix) == (False, test["result"] == "valid")


def test_there_are_vectors_of_both_kinds() -> None:
    """The vector file has the vectors of the two tests above."""
    assert (len(_FULL), len(_TRUNCATED)) == (87, 87)


@given(st.binary(max_size=80), st.binary(max_size=200), st.integers(0, 255))
def test_any_changed_bit_of_a_tag_is_refused(secret: bytes, message: bytes, bit: int) -> None:
    """Flipping one bit of a right tag makes it wrong."""
    tag = bytearray(sign_raw(secret, message))
    tag[bit // 8] ^= 1 << bit % 8
    assert verify(secret, message, bytes(tag)) is False


def test_the_header_names_the_algorithm() -> None:
    """The header value is "hmac-sha256=" and the tag in lower-case hex."""
    assert header_value(b"k", b"m") == "hmac-sha256=" + sign_raw(b"k", b"m").hex()
