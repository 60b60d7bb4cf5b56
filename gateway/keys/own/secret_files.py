"""A secret that does not show itself, and the files that secrets come from.

What a secret is good for (HMAC, PEM, header) is the keyring's business. Source: issue 3, point 5; API.md, settings.
"""

from __future__ import annotations

import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from gateway.core.hidden import HiddenBytes, HiddenText

MAX_SECRET_FILE_BYTES = 64 * 1024


class SecretRefused(ValueError):
    """A secret cannot be used; the text says why and what to do, and holds nothing of the secret."""


class Secret:
    """Bytes that no repr, format, pickle or copy gives away."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        """Hold these bytes.

        Raises: SecretRefused when there are none.
        """
        if not value:
            raise SecretRefused("is empty; give it a value or leave the setting out")
        self._value = HiddenBytes(value)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Hold the UTF-8 bytes of a text, without the one line end that editors add.

        Raises: SecretRefused when nothing is left, or when the text is no valid Unicode.
        """
        try:
            return cls(_without_line_end(text.encode("utf-8")))
        except UnicodeEncodeError:
            raise SecretRefused("is not valid UTF-8 text; write it again") from None

    def reveal(self) -> bytes:
        """The bytes, as HiddenBytes; call it where they are used and keep no copy."""
        return self._value

    def reveal_text(self) -> str:
        """The bytes as text, for headers.

        Raises: SecretRefused when they are not UTF-8.
        """
        try:
            return HiddenText(self._value.decode("utf-8"))
        except UnicodeDecodeError:
            raise SecretRefused("is not valid UTF-8 text; write it again") from None

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    # A hash would tell equal secrets apart from unequal ones in any table that is dumped.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Secret(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stamp_of(path: Path) -> FileStamp:
    """Look at the file, following links (a mounted secret is replaced by turning a link).

    Raises: OSError.
    """
    return _stamp(os.stat(path))


def read_secret_file(path: Path, *, in_folder: bool = False) -> tuple[Secret, FileStamp]:
    """Read a secret from its file, and the stamp of exactly what was read.

    The rules are checked on the open file, so that nobody can swap it in between. `in_folder`: nobody named this file,
    it was found, so it must also belong to our user or to root: others may be able to add files there.
    Raises: SecretRefused when it is missing, no regular file, readable by others than its owner, too large or empty.
    """
    try:
        # O_NONBLOCK: a named pipe put there must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretRefused(f"its file cannot be opened ({error.strerror}); check the path and its owner") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretRefused("its path is not a regular file; name the file that holds the value")
        if status.st_mode & 0o077:
            raise SecretRefused("its file can be read or changed by others than its owner; run chmod 600 on it")
        if in_folder and status.st_uid not in (os.geteuid(), 0):
            raise SecretRefused("its file belongs to another user; give it to the one that the gateway runs as")
        if status.st_size > MAX_SECRET_FILE_BYTES:
            raise SecretRefused(f"its file is larger than {MAX_SECRET_FILE_BYTES} bytes; it is not the right file")
        content = _read_all(descriptor)
    except OSError as error:
        raise SecretRefused(f"its file cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    return Secret(_without_line_end(content)), _stamp(status)


def _read_all(descriptor: int) -> bytes:
    chunks: list[bytes] = []
    left = MAX_SECRET_FILE_BYTES
    while left > 0 and (chunk := os.read(descriptor, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _stamp(status: os.stat_result) -> FileStamp:
    return FileStamp(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
    )


def _without_line_end(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")
