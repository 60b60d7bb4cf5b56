"""HTTP/2 frames for the load generator: builds requests and parses answers. Pure: bytes in, bytes out.

Request headers are HPACK literals without indexing, so a prebuilt request is valid on any connection at any time. The
settings forbid the peer a header table, so each block of trailers is readable by itself, in literals or Huffman-coded.
`http2_connection` handles sockets and flow control. Source: RFC 9113, RFC 7541, gRPC over HTTP/2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hpack import Decoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 3, 4, 5
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
GRPC_PREFIX_BYTES = 5
_STATUS = re.compile(rb"(?:\x0bgrpc-status|\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f)(?:\x01([0-9])|\x02([0-9]{2}))")
"""The name in ASCII as grpc's core sends it, or Huffman-coded as nghttp2 and Go do; the value in ASCII, as all do."""


class Http2Error(Exception):
    """The peer sent invalid HTTP/2. The connection cannot be used any more."""


class Frame(NamedTuple):
    """One frame. `payload` has no padding. `flow_bytes` counts against flow control (DATA only, with padding)."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    flow_bytes: int


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the values of a SETTINGS frame by identifier."""
    if len(payload) % 6:
        raise Http2Error("a SETTINGS frame has an invalid length")
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame. Stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def request_headers(authority: str, path: str, further: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the header block of a gRPC call as literals without indexing."""
    pairs = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *further,
    ]
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def grpc_message(message: bytes) -> bytes:
    """Return a message with its gRPC prefix: not compressed, and its length."""
    return b"\x00" + struct.pack(">I", len(message)) + message


def take_frames(buffer: bytearray) -> Iterator[Frame]:
    """Yield the complete frames at the start of the buffer and remove them.

    Raises: Http2Error for a frame longer than the default maximum, which this side never changes.
    """
    at, end = 0, len(buffer)
    try:
        while end - at >= 9:
            length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if length > DEFAULT_FRAME_SIZE:
                raise Http2Error("a frame is longer than the limit")
            after = at + 9 + length
            if after > end:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            payload = bytes(buffer[at + 9 : after])
            at = after
            if flags & PADDED and kind in (DATA, HEADERS):
                payload = payload[1 : len(payload) - payload[0]]
            yield Frame(kind, flags, stream, payload, length if kind == DATA else 0)
    finally:
        del buffer[:at]


def grpc_status(block: bytes) -> int | None:
    """Return the status of a trailer block, or None if it has none or is not readable."""
    found = _STATUS.search(block)  # decoding the whole block takes 50 times longer
    if found:
        return int(found[1] or found[2])
    status = trailers(block).get("grpc-status", "")
    return int(status) if status.isdigit() else None


def status_text(block: bytes) -> str:
    """Return `grpc-message` of a trailer block, or "" if it has none or is not readable."""
    return trailers(block).get("grpc-message", "")


def trailers(block: bytes) -> dict[str, str]:
    """Return the fields of a header block that uses no dynamic table; none if it is not readable."""
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in decoder.decode(block, raw=True)}
    except HPACKError:
        return {}


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest = len(data) - 127  # a longer length: 127, then the rest in 7-bit groups, lowest first
    length = bytearray([127])
    while rest >= 128:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes(length) + data
