"""Writes files whole: a reader, and a machine that lost power, sees the old file or the new one, never a part.

The content goes into a hidden file of mode 0600 beside the target and onto the disk; then that file takes the target's
name, and the directory goes onto the disk too: without the last step a crash may undo the change.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield what to write to; the file takes the place of `path` when the block ends, and only without an exception.

    Raises: OSError.
    """
    with _placing(path, os.replace) as stream:
        yield stream


def replace_file(path: Path, content: bytes) -> None:
    """Put a file with this content in the place of `path`. Raises: OSError; the old file is then still there."""
    with replacing(path) as stream:
        stream.write(content)


def create_file(path: Path, content: bytes) -> None:
    """Make a file that is not there yet. Raises: FileExistsError, OSError."""
    with _placing(path, os.link) as stream:  # unlike a rename, a link never replaces a file
        stream.write(content)


def sync_folder(folder: Path) -> None:
    """Put the names in a directory onto the disk. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _placing(path: Path, place: Callable[[str, Path], None]) -> Iterator[BinaryIO]:
    folder = path.absolute().parent
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name}-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        place(name, path)
    finally:
        Path(name).unlink(missing_ok=True)  # still there after a link or an exception
    sync_folder(folder)
