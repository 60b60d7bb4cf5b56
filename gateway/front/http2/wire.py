"""gRPC's wire format over HTTP/2 as pure functions: message frames, timeouts, metadata, status, compression.

Knows bytes and headers; streams and connections are in `stream.py` and `connection.py`. Source: the gRPC project's
PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

Header = tuple[bytes, bytes]

PREFIX_BYTES = 5
"""Before each message: one byte that says whether it is compressed, four with its length."""
ENCODINGS = frozenset({"identity", "gzip", "deflate"})
ACCEPTED_ENCODINGS: Header = (b"grpc-accept-encoding", b"identity,gzip,deflate")
RESPONSE_HEADERS: tuple[Header, ...] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    ACCEPTED_ENCODINGS,
)

_PREFIX = struct.Struct(">BI")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}
_GZIP = 16 + zlib.MAX_WBITS


class WireFault(Exception):
    """What a peer sent breaks the gRPC protocol; the text says what and how to send it right."""


class MessageTooLarge(WireFault):
    """A message is longer than the limit, as sent or after decompression."""


def framed(message: bytes) -> bytes:
    """Return the message behind its prefix, not compressed."""
    return _PREFIX.pack(0, len(message)) + message


def parse_timeout(text: str) -> float:
    """Return the seconds of a `grpc-timeout`: at most eight digits and a unit.

    Raises: WireFault.
    """
    digits, unit = text[:-1], _SECONDS.get(text[-1:])
    if unit is None or not 1 <= len(digits) <= 8 or not (digits.isascii() and digits.isdigit()):
        raise WireFault("grpc-timeout is not valid; send at most 8 digits and one of H, M, S, m, u, n")
    return int(digits) * unit


def metadata_headers(pairs: Iterable[tuple[str, str | bytes]]) -> list[Header]:
    """Return metadata as headers; bytes belong to `-bin` names and become unpadded base64."""
    return [
        (
            name.encode(),
            base64.b64encode(value).rstrip(b"=") if isinstance(value, bytes) else value.encode("latin-1", "replace"),
        )
        for name, value in pairs
    ]


def percent_encoded(message: str) -> bytes:
    """Return a `grpc-message`: printable ASCII as it is, everything else and "%" as %XX of UTF-8."""
    data = message.encode("utf-8", "replace")
    if all(byte in _PLAIN for byte in data):
        return data
    return b"".join(bytes((byte,)) if byte in _PLAIN else b"%%%02X" % byte for byte in data)


def status_trailers(code: int, message: str, metadata: Sequence[tuple[str, str | bytes]]) -> list[Header]:
    """Return the trailers that end a call."""
    trailers: list[Header] = [(b"grpc-status", b"%d" % code)]
    if message:
        trailers.append((b"grpc-message", percent_encoded(message)))
    return trailers + metadata_headers(metadata)


def decompressing(data: bytes, encoding: str, max_bytes: int, slice_bytes: int) -> Iterator[bytes]:
    """Yield the message inside a compressed one, at most `slice_bytes` of it at a time.

    Raises: MessageTooLarge as soon as more than `max_bytes` have come; WireFault for bytes that are not compressed so.
    """
    if encoding == "gzip":
        reader = zlib.decompressobj(_GZIP)
    elif encoding == "deflate":
        reader = zlib.decompressobj()
    else:
        raise WireFault("a message is compressed, and grpc-encoding does not say how; name gzip or deflate")
    size = 0
    for at in range(0, len(data), slice_bytes):
        left = data[at : at + slice_bytes]
        while True:
            try:
                piece = reader.decompress(left, slice_bytes)
            except zlib.error:
                raise WireFault(f"a message is not readable {encoding}; compress it again or send it plain") from None
            size += len(piece)
            if size > max_bytes:
                text = f"a message is longer than {max_bytes} bytes after decompression; send less in one call"
                raise MessageTooLarge(text)
            yield piece
            left = reader.unconsumed_tail
            if not left and len(piece) < slice_bytes:
                break
    if not reader.eof or reader.unused_data:
        raise WireFault(f"a message is not whole {encoding}; compress it again or send it plain")


class Compressed(bytes):
    """A message as it was sent, still compressed."""


class MessageReader:
    """Cuts the bytes of a stream into messages; holds at most one unfinished message.

    Messages stay compressed until `plain`: what waits for its handler takes no more memory than what was sent.
    """

    __slots__ = ("_encoding", "_held", "_max_bytes", "_needed", "fault")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        """Args: `encoding` of compressed messages; `max_bytes` of one message, as sent and after decompression."""
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._needed = 0
        """Bytes from which on something can be cut: until then what comes is only kept, not looked at again."""
        self.fault: WireFault | None = None
        """What is wrong with the bytes after the messages that `feed` returned last; nothing is fed any more."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now, in their order; each may be Compressed.

        Raises: MessageTooLarge as soon as a prefix says so; WireFault. The reader is not used after that. Where whole
        messages came before it, they are returned and the error is in `fault`: how a network cuts the bytes decides
        nothing.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data, self._held = bytes(self._held), bytearray()
        at, end, found = 0, len(data), list[bytes]()
        self._needed = PREFIX_BYTES
        while end - at >= PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(data, at)
            fault = self._fault_of(flag, length)
            if fault is not None:
                if not found:
                    raise fault
                self.fault = fault
                return found
            if end - at - PREFIX_BYTES < length:
                self._needed = PREFIX_BYTES + length
                break
            message = data[at + PREFIX_BYTES : at + PREFIX_BYTES + length]
            found.append(Compressed(message) if flag else message)
            at += PREFIX_BYTES + length
        if at < end:
            self._held = bytearray(data[at:])
        return found

    def _fault_of(self, flag: int, length: int) -> WireFault | None:
        if length > self._max_bytes:
            return MessageTooLarge(
                f"a message of {length} bytes is longer than {self._max_bytes}; send less in one call"
            )
        if flag > 1:
            return WireFault("a message's first byte is neither 0 nor 1; frame messages as gRPC does")
        return None

    def plain(self, message: Compressed, slice_bytes: int) -> Iterator[bytes]:
        """Yield a message of `feed` without its compression, in slices.

        Raises: MessageTooLarge, WireFault.
        """
        return decompressing(message, self._encoding, self._max_bytes, slice_bytes)

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished message is here; 0 between messages, where a stream may end."""
        return len(self._held)

    def drop(self) -> None:
        """Forget the unfinished message; nothing is fed any more."""
        self._held = bytearray()
