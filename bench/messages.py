"""A file format for requests and answers of the load generator: each message follows its length."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

_LENGTH = struct.Struct(">I")


def write_messages(path: Path, messages: Iterable[bytes]) -> None:
    """Write the messages in order."""
    with path.open("wb") as file:
        for message in messages:
            file.write(_LENGTH.pack(len(message)))
            file.write(message)


def read_messages(path: Path) -> Iterator[bytes]:
    """Yield the messages in order. Raises: ValueError if the file is truncated."""
    data = path.read_bytes()
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise ValueError("the file ends within a length")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += 4 + length
        if offset > len(data):
            raise ValueError("the file ends within a message")
        yield data[offset - length : offset]
