"""The one spelling of a signature."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.encoding import MalformedSignature, b64url_encode, decode_signature, sha256_hex

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.binary(min_size=64, max_size=64))
def test_a_signature_survives_the_round_trip(raw: bytes) -> None:
    """Encoding and decoding gives the same bytes, in 86 characters."""
    text = b64url_encode(raw)
    assert (len(text), decode_signature(text)) == (86, raw)


@given(st.binary(min_size=64, max_size=64))
def test_a_signature_has_one_spelling_only(raw: bytes) -> None:
    """Of the 64 possible last characters exactly one decodes to the signature's bytes."""
    text = b64url_encode(raw)
    accepted = []
    for last in _ALPHABET:
        try:
            if decode_signature(text[:-1] + last) == raw:
                accepted.append(last)
        except MalformedSignature:
            continue
    assert accepted == [text[-1]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 85,
        "A" * 87,
        "A" * 86 + "==",
        "A" * 84 + "==",
        "+" + "A" * 85,
        "/" + "A" * 85,
        " " + "A" * 85,
        " " + "A" * 86,
        "A" * 86 + "\n",
        "A" * 86 + " ",
        "A" * 85 + "\n",
        "A" * 85 + "B",
        "A" * 86 + "," + "A" * 86,
        "é" + "A" * 85,
        "\uff21" * 86,
        "\x00" * 86,
    ],
)
def test_other_spellings_are_refused_without_being_repeated(text: str) -> None:
    """Padding, the other alphabet, spaces, other lengths, Unicode look-alikes: refused, not quoted."""
    with pytest.raises(MalformedSignature) as refusal:
        decode_signature(text)
    assert str(refusal.value) == "a signature is 86 characters of unpadded base64url"


@given(st.binary(max_size=200))
def test_base64url_and_digest_agree_with_the_library(raw: bytes) -> None:
    """Unpadded base64url and SHA-256 are the standard ones."""
    expected = (base64.urlsafe_b64encode(raw).decode().rstrip("="), hashlib.sha256(raw).hexdigest())
    assert (b64url_encode(raw), sha256_hex(raw)) == expected
