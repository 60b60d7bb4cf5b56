"""Read secrets from files, with checks that other users can neither read nor replace them. Source: API.md, settings."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_text import secret_meant
from gateway.keys.sources.file_access import exposure_of, whoami
from gateway.keys.sources.secret_store import StoredSecret

MAX_SECRET_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """The source of one secret: a value, a file, a folder with one file for each version, or a store.

    `setting` is its name in messages.
    """

    setting: str
    value: Secret | None = None
    path: Path | None = None
    stored: StoredSecret | None = None

    def __str__(self) -> str:
        """Name it for people: the reference or the setting, which are no secrets."""
        return self.setting if self.stored is None else str(self.stored.reference)


def read_source(source: SecretSource) -> Secret:
    """Return the secret in force now. Raises: SecretRefused."""
    if source.stored is not None:
        return source.stored.versions[-1].secret
    if source.path is not None:
        return read_secret_file(source.path)[0]
    if source.value is None:
        raise SecretRefused("is not set")
    return source.value


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """The metadata that shows whether a file changed, without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stamp_of(path: Path) -> FileStamp:
    """Return the stamp of a file; follow links, because a mounted secret is replaced by changing a link.

    Raises: OSError.
    """
    return _stamp(os.stat(path))


def read_secret_file(path: Path, *, in_folder: bool = False) -> tuple[Secret, FileStamp]:
    """Read a secret from its file. Return it with the stamp of exactly the file that was read.

    The checks run on the open file, so that nobody can replace it in between. `in_folder`: the file was found in a
    folder, not named by a setting, so it must also belong to our user or to root: others may be able to add files.
    Raises: SecretRefused if the file is missing, not regular, too large or empty, if others can read it
    (file_access.py), or if its content cannot be meant so (core/secret_text.py).
    """
    try:
        # O_NONBLOCK: a named pipe at this path must not block the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        who = f"; {whoami()}" if error.errno == errno.EACCES else ""
        raise SecretRefused(
            f"its file cannot be opened ({error.strerror}); check the path and its owner{who}"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretRefused("its path is not a regular file; set it to the file that contains the value")
        if exposure := exposure_of(descriptor, status):
            raise SecretRefused(f"its file {exposure}")
        if in_folder and status.st_uid not in (os.geteuid(), 0):
            raise SecretRefused("its file belongs to another user; change its owner to the gateway's user")
        if status.st_size > MAX_SECRET_FILE_BYTES:
            raise SecretRefused(f"its file is larger than {MAX_SECRET_FILE_BYTES} bytes; it is not the right file")
        content = _read_all(descriptor)
    except OSError as error:
        raise SecretRefused(f"its file cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    return Secret(secret_meant(content)), _stamp(status)


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
