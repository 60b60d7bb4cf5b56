"""The file that audit lines are appended to. It is reopened after it was moved away, and every wait on it has a limit.

Every process writes each batch with one append, so that workers can share a file. The path may name a regular file,
/dev/stdout or a pipe with a reader. The calls block; audit.py makes them in a thread of its own.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Sequence
from pathlib import Path

WRITE_WITHIN_S = 0.5
"""How long a pipe whose reader is slow may take before it counts as failed."""


class AuditFile:
    """One path, and what is open of it."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Nothing is opened before the first write. Args: `durable`: sync a regular file after every batch."""
        self._path = path
        self._durable = durable
        self._descriptor: int | None = None
        self._is_regular = False
        self._torn = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append all lines; on return they are with the system, and on the disk where that was asked for.

        Raises: OSError; some of the lines may be there then, the last of them in part: it is ended by the next append.
        """
        descriptor = self._current()
        data = b"".join(lines)
        if self._torn:
            data = b"\n" + data
        try:
            self._write(descriptor, data)
            self._torn = False
            if self._durable and self._is_regular:
                os.fdatasync(descriptor)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close it; the next append opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _current(self) -> int:
        """Return what to write to: the file that has the path now."""
        if self._descriptor is not None and not self._was_moved(self._descriptor):
            return self._descriptor
        self.close()
        # Non-blocking: a pipe without a reader is an error at once, and not a wait without end.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        self._descriptor = os.open(self._path, flags, 0o600)
        self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        return self._descriptor

    def _was_moved(self, descriptor: int) -> bool:
        try:
            named = os.stat(self._path)
        except OSError:
            return True
        held = os.fstat(descriptor)
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)

    def _write(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.write(descriptor, view)
            except BlockingIOError:
                if not select.select([], [descriptor], [], WRITE_WITHIN_S)[1]:
                    raise OSError(errno.EAGAIN, "the reader of the audit pipe does not read") from None
                continue
            self._torn = True  # until all of it is there
            view = view[written:]
