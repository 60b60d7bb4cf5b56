"""Protocol buffers as bytes: fields are written and read one by one, without message classes. Pure.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10
_SMALL = tuple(bytes((number,)) for number in range(0x80))


def varint(number: int) -> bytes:
    """Return a number from 0 to 2^64-1."""
    if number < 0x80:
        return _SMALL[number]
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def zigzag(number: int) -> int:
    """Return a signed number as sint32 and sint64 have it: small if it is near 0."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def number_field(field: int, number: int) -> bytes:
    """Return an integer, an enum or a zigzag number."""
    return varint(field << 3 | VARINT) + varint(number)


def double_field(field: int, value: float) -> bytes:
    """Return a double."""
    return varint(field << 3 | FIXED64) + struct.pack("<d", value)


def bytes_field(field: int, content: bytes) -> bytes:
    """Return bytes or a message."""
    return varint(field << 3 | BYTES) + varint(len(content)) + content


def text_field(field: int, text: str) -> bytes:
    """Return a text."""
    return bytes_field(field, text.encode())


def delimited(message: bytes) -> bytes:
    """Return a message with its length in front."""
    return varint(len(message)) + message


def read_delimited(content: bytes) -> Iterator[bytes]:
    """Yield the messages that each have their length in front. Raises: ValueError if one is cut off."""
    at = 0
    while at < len(content):
        size, begin = _read_varint(content, at)
        at = begin + size
        if at > len(content):
            raise ValueError("a message is cut off")
        yield content[begin:at]


def read_fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the number of each field, its content without tag and length, and all its bytes. Raises: ValueError."""
    at = 0
    while at < len(message):
        tag, begin = _read_varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, end = _read_varint(message, begin)
        elif kind == BYTES:
            size, begin = _read_varint(message, begin)
            end = begin + size
        elif kind in _SIZES:
            end = begin + _SIZES[kind]
        else:
            raise ValueError("a field has an unknown kind")
        if end > len(message):
            raise ValueError("a field is cut off")
        yield tag >> 3, message[begin:end], message[at:end]
        at = end


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number at this place, and where it ends."""
    number = 0
    if at < len(content) and content[at] < 0x80:
        return content[at], at + 1
    for position, byte in enumerate(content[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return number, at + position + 1
    raise ValueError("a number is cut off")
