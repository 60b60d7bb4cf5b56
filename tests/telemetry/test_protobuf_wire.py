"""Protocol buffers as bytes: what is written is read again, and by Google's library too; what is broken is refused."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.protobuf_wire import (
    bytes_field,
    delimited,
    double_field,
    number_field,
    read_delimited,
    read_fields,
    text_field,
    zigzag,
)
from tests.client_model import family_class

NUMBERS = st.integers(0, 2**64 - 1)
CONTENT = st.lists(st.binary(max_size=300), max_size=10)


@given(NUMBERS, st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.floats(allow_nan=False))
def test_the_library_reads_what_is_written(number: int, text: str, content: bytes, value: float) -> None:
    """Each kind of field."""
    assert wrappers_pb2.UInt64Value.FromString(number_field(1, number)).value == number
    assert wrappers_pb2.StringValue.FromString(text_field(1, text)).value == text
    assert wrappers_pb2.BytesValue.FromString(bytes_field(1, content)).value == content
    assert wrappers_pb2.DoubleValue.FromString(double_field(1, value)).value == value


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_signed_numbers_are_read(numbers: list[int]) -> None:
    """As deltas of a histogram are written."""
    deltas = b"".join([number_field(13, zigzag(number)) for number in numbers])
    family = family_class().FromString(bytes_field(4, bytes_field(7, deltas)))
    assert list(family.metric[0].histogram.positive_delta) == numbers


@given(CONTENT)
def test_delimited_messages_are_read_again(messages: list[bytes]) -> None:
    """Also empty ones."""
    assert list(read_delimited(b"".join(map(delimited, messages)))) == messages


def test_fields_are_read_with_all_their_bytes() -> None:
    """Of a message of the library, with fields of all kinds; together they are the message."""
    option = descriptor_pb2.UninterpretedOption(string_value=b"a", double_value=0.5, positive_int_value=2**63)
    message = option.SerializeToString() + b"\x7d\x01\x02\x03\x04"
    fields = list(read_fields(message))
    assert b"".join([raw for _, _, raw in fields]) == message
    assert {number: content for number, content, _ in fields}[7] == b"a"
    assert fields[-1][:2] == (15, b"\x01\x02\x03\x04")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """With a ValueError, and never without an end."""
    for read in (read_delimited, read_fields):
        try:
            list(read(content))
        except ValueError:
            continue


@pytest.mark.parametrize("content", [b"\x05abc", b"\xff", b"\xff" * 11, b"\x00\x80"])
def test_a_message_that_is_cut_off_is_refused(content: bytes) -> None:
    """Its text, or its length."""
    with pytest.raises(ValueError, match="cut off"):
        list(read_delimited(content))


@pytest.mark.parametrize("content", [b"\x0a\x05abc", b"\x0a", b"\x08\x80", b"\x09" + b"a" * 7, b"\x0d" + b"a" * 3])
def test_a_field_that_is_cut_off_is_refused(content: bytes) -> None:
    """Of each kind."""
    with pytest.raises(ValueError, match="cut off"):
        list(read_fields(content))
