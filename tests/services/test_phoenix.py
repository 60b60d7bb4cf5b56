"""What a body of Phoenix's becomes in an answer of PhoenixService."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from gateway.services.phoenix import _json_value


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[1,2.5,null,true,"x"]}', {"a": [1.0, 2.5, None, True, "x"]}),
        (b"[1]", [1.0]),
        (b' "ok" ', "ok"),
        (b"null", None),
        (b"12.50", 12.5),
        (b"9007199254740993", "9007199254740993"),
        (b"0.1000000000000000055", "0.1000000000000000055"),
    ],
)
def test_a_json_value_is_passed_on_exactly(body: bytes, value: object) -> None:
    """Of any kind; a number that a double cannot hold is text."""
    read = _json_value(body)
    assert read is not None
    assert value == MessageToDict(read)


@pytest.mark.parametrize(
    "body",
    [b"", b"ok", b"<html>", b'{"a":1,"a":2}', b'1,"x":2', b'1,"body":2', b"1}", b'1}{"body":2', b"{", b"NaN", b"\xff"],
)
def test_what_is_no_plain_json_value_is_none(body: bytes) -> None:
    """Nothing in it can pass for another member of the wrapping."""
    assert None is _json_value(body)


@given(st.binary(max_size=40))
def test_no_body_breaks_the_reading(body: bytes) -> None:
    """It is a value or none."""
    _json_value(body)
