"""Messages in a file, each behind its length: how prepared requests reach the load generator, and answers come back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

_LENGTH = struct.Struct(">I")


def write_messages(path: Path, messages: Iterable[bytes]) -> None:
    """Write the messages in their order."""
    with path.open("wb") as file:
        for message in messages:
            file.write(_LENGTH.pack(len(message)))
            file.write(message)


def read_messages(path: Path) -> Iterator[bytes]:
    """Yield the messages in their order. Raises: ValueError when the file ends within one."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise ValueError("the file ends within a length")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4 + length
        if at > len(data):
            raise ValueError("the file ends within a message")
        yield data[at - length : at]
