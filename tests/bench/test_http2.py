"""HTTP/2 frames of the load generator, against RFC 9113 and RFC 7541 by hand."""

import pytest
from hpack import Encoder

from bench import http2


def test_a_frame_is_length_kind_flags_stream_payload() -> None:
    """The nine bytes of a header, big-endian."""
    assert http2.frame(http2.DATA, http2.END_STREAM, 5, b"abc") == bytes.fromhex("000003 00 01 00000005") + b"abc"


def test_a_frame_longer_than_64_kib_keeps_its_length() -> None:
    """The length has three bytes."""
    assert http2.frame(http2.DATA, 0, 1, bytes(70_000))[:3] == (70_000).to_bytes(3, "big")


def test_frames_come_whole_and_the_rest_stays() -> None:
    """A frame that is not complete waits for its end."""
    first, second = http2.frame(http2.PING, 0, 0, bytes(8)), http2.frame(http2.DATA, 0, 7, b"xyz")
    buffer = bytearray(first + second[:-1])
    assert [frame.kind for frame in http2.take_frames(buffer)] == [http2.PING]
    assert bytes(buffer) == second[:-1]
    buffer += second[-1:]
    assert list(http2.take_frames(buffer)) == [(http2.DATA, 0, 7, b"xyz", 3)]
    assert bytes(buffer) == b""


def test_padding_counts_against_the_window_and_not_as_payload() -> None:
    """RFC 9113 6.1: the whole payload, padding included, is flow-controlled."""
    buffer = bytearray(http2.frame(http2.DATA, http2.PADDED, 1, b"\x02ab\x00\x00"))
    assert list(http2.take_frames(buffer)) == [(http2.DATA, http2.PADDED, 1, b"ab", 5)]


def test_a_frame_over_the_limit_is_a_fault() -> None:
    """Nobody was allowed to send one."""
    with pytest.raises(http2.Http2Error):
        list(http2.take_frames(bytearray(http2.frame(http2.DATA, 0, 1, bytes(16_385)))))


def test_request_headers_are_literals_without_indexing() -> None:
    """The first is `:method: POST`, spelt out, so that no state is needed to read or repeat it."""
    block = http2.request_headers("h:1", "/a.B/C")
    assert block.startswith(b"\x00\x07:method\x04POST")
    assert b"\x00\x05:path\x06/a.B/C" in block


def test_a_long_header_text_has_a_length_of_several_bytes() -> None:
    """RFC 7541 5.1: 127, then what is over it, seven bits a byte."""
    block = http2.request_headers("h", "/", [("x", "v" * 1337)])
    assert block.endswith(bytes([127, (1337 - 127) & 0x7F | 0x80, (1337 - 127) >> 7]) + b"v" * 1337)


@pytest.mark.parametrize(
    ("block", "status", "text"),
    [
        (b"\x20\x00\x0bgrpc-status\x010", 0, ""),
        (b"\x40\x0bgrpc-status\x0214\x40\x0cgrpc-message\x04gone", 14, "gone"),
        (b"\x88", None, ""),
        (b"\x88\xbf", None, ""),
    ],
)
def test_the_status_is_read_from_the_trailers(block: bytes, status: int | None, text: str) -> None:
    """Literals; a block without a status and one that refers to a table that nobody may have are no success."""
    assert (http2.grpc_status(block), http2.status_text(block)) == (status, text)


@pytest.mark.parametrize("is_huffman", [True, False])
@pytest.mark.parametrize(("status", "text"), [(0, ""), (8, "busy; try later"), (14, "x" * 300)])
def test_trailers_of_another_encoder_are_read(is_huffman: bool, status: int, text: str) -> None:
    """Also in Huffman code, and with further fields before and behind."""
    encoder = Encoder()
    encoder.header_table_size = 0
    pairs = [(":status", "200"), ("grpc-status", str(status)), ("grpc-message", text), ("x-request-id", "id-1")]
    block = encoder.encode(pairs, huffman=is_huffman)
    assert (http2.grpc_status(block), http2.status_text(block)) == (status, text)
    assert http2.trailers(block) == dict(pairs)


def test_a_huffman_coded_name_before_a_plain_value_is_read() -> None:
    """As nghttp2 and Go write it: they code what becomes shorter by it."""
    block = b"\x20\x00" + b"\x88" + bytes.fromhex("9acac8b21234da8f") + b"\x0216"
    assert http2.grpc_status(block) == 16


def test_settings_come_back_as_they_were_written() -> None:
    """By identifier."""
    values = {http2.HEADER_TABLE_SIZE: 0, http2.INITIAL_WINDOW_SIZE: 2**31 - 1}
    assert http2.read_settings(http2.settings(values)[9:]) == values
