"""gRPC's wire format: frames, timeouts, metadata, messages of statuses, compression."""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.front.http2.wire import (
    Compressed,
    MessageReader,
    MessageTooLarge,
    WireFault,
    decompressing,
    framed,
    metadata_headers,
    parse_timeout,
    percent_encoded,
    status_trailers,
)

GZIPPED = gzip.compress(b"x", mtime=0)


@given(messages=st.lists(st.binary(max_size=300), max_size=8), cuts=st.lists(st.integers(1, 50), max_size=200))
def test_messages_come_back_however_the_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    """Framing and reading are inverse, whatever pieces the network makes."""
    data, reader, found = b"".join(framed(message) for message in messages), MessageReader("identity", 1000), []
    for cut in cuts:
        found += reader.feed(data[:cut])
        data = data[cut:]
    found += reader.feed(data)
    assert messages == found
    assert 0 == reader.held_bytes


@given(messages=st.lists(st.binary(max_size=30), max_size=4), cuts=st.lists(st.integers(1, 20), max_size=50))
def test_messages_before_a_fault_come_however_the_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    """A network that puts a good message and a bad one into one packet must not take the good one away."""
    data, reader, found = b"".join(framed(message) for message in messages) + b"\7" * 5, MessageReader("gzip", 100), []
    broken = False
    for cut in [*cuts, len(data)]:
        piece, data = data[:cut], data[cut:]
        try:
            found += reader.feed(piece)
        except WireFault:
            broken = True
        if broken or reader.fault is not None:
            break
    assert messages == found
    assert broken or reader.fault is not None


@given(data=st.binary(max_size=64))
def test_any_bytes_are_messages_or_a_fault(data: bytes) -> None:
    """Nothing else leaves the reader."""
    try:
        MessageReader("gzip", 100).feed(data)
    except WireFault:
        pass


def test_a_message_that_is_too_long_is_refused_by_its_prefix() -> None:
    """Five bytes are enough: the rest is never awaited."""
    with pytest.raises(MessageTooLarge, match="1001 bytes is longer than 1000"):
        MessageReader("identity", 1000).feed(b"\0\0\0\x03\xe9")


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_read(encoding: str, compress: object) -> None:
    """Both ways that gRPC clients use."""
    assert callable(compress)
    packed = compress(b"hello" * 10)
    reader = MessageReader(encoding, 100)
    (message,) = reader.feed(b"\1" + len(packed).to_bytes(4, "big") + packed)
    assert isinstance(message, Compressed)
    assert b"hello" * 10 == b"".join(reader.plain(message, 7))


def test_a_compressed_message_is_unpacked_when_it_is_read() -> None:
    """What waits for its handler takes the memory of what was sent: a window of bombs would take 250 MiB otherwise."""
    packed = gzip.compress(bytes(4_000_000))
    reader = MessageReader("gzip", 4_194_304)
    found = reader.feed((b"\1" + len(packed).to_bytes(4, "big") + packed) * 60)
    assert 60 * len(packed) == sum(map(len, found))
    assert isinstance(found[0], Compressed)
    slices = [len(one) for one in reader.plain(found[0], 100_000)]
    assert (4_000_000, 100_000) == (sum(slices), max(slices))


def test_a_long_message_in_small_pieces_costs_no_more_than_its_length() -> None:
    """The parser keeps each piece without a further copy."""

    def seconds(length: int) -> float:
        reader, began = MessageReader("identity", 4_194_304), time.thread_time()
        reader.feed(b"\0" + length.to_bytes(4, "big"))
        for _ in range(length // 10 - 1):
            assert not reader.feed(b"0123456789")
        assert reader.feed(b"0123456789")
        return time.thread_time() - began

    long, short = (min(seconds(length) for _ in range(3)) for length in (2_000_000, 200_000))
    assert long < 30 * short  # ten times the pieces; copying would take a hundred times


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_refused_without_being_unpacked(encoding: str, compress: object) -> None:
    """Ten megabytes in ten kilobytes: refused at the limit."""
    assert callable(compress)
    with pytest.raises(MessageTooLarge):
        list(decompressing(compress(bytes(10_000_000)), encoding, 1_000_000, 65_536))


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense", GZIPPED[:-4], GZIPPED + b"more"], ids=["empty", "garbage", "cut", "longer"]
)
def test_broken_compression_is_a_fault(broken: bytes) -> None:
    """Cut, garbage, or with something behind it."""
    with pytest.raises(WireFault):
        list(decompressing(broken, "gzip", 100, 10))


def test_an_unknown_encoding_is_named_as_such() -> None:
    """The text says what is read."""
    with pytest.raises(WireFault, match="name gzip or deflate"):
        list(decompressing(b"", "br", 100, 10))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.099999999)],
)
def test_timeouts_are_read(text: str, seconds: float) -> None:
    """All six units, up to eight digits."""
    assert seconds == pytest.approx(parse_timeout(text))


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "\u0661S", " 1S"])
def test_other_timeouts_are_refused(text: str) -> None:
    """What the protocol does not allow."""
    with pytest.raises(WireFault, match="grpc-timeout"):
        parse_timeout(text)


@given(text=st.text(max_size=60))
def test_messages_of_statuses_survive_percent_encoding(text: str) -> None:
    """Printable ASCII goes out, and the client reads the same text."""
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert text.encode("utf-8", "replace") == unquote_to_bytes(encoded)


@given(value=st.binary(max_size=40))
def test_binary_metadata_goes_out_as_unpadded_base64(value: bytes) -> None:
    """As gRPC clients read it."""
    ((name, text),) = metadata_headers([("a-bin", value)])
    assert (b"a-bin", False) == (name, b"=" in text)
    assert value == base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def test_success_has_no_message() -> None:
    """Status 0 and the metadata, no more."""
    assert [(b"grpc-status", b"0"), (b"x", b"y")] == status_trailers(0, "", [("x", "y")])
