"""The file that audit lines are appended to. It is reopened after it was moved away, and every wait on it has a limit.

Every process writes each batch with one append, so that workers can share a file. The path may name a regular file, a
pipe with a reader, or a descriptor that the process inherited, such as /dev/stdout: that one is written to as it is,
because a pipe of another user and a socket cannot be opened again. The calls block; audit.py makes them in a thread of
its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from gateway.telemetry.line_pieces import pieces

_INHERITED = re.compile(r"(?:/dev|/proc/(?P<process>self|[0-9]{1,10}))/fd/(?P<number>[0-9]{1,4})")
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}
_MAX_LINKS = 8
WRITE_WITHIN_S = 0.5
"""How long a pipe whose reader is slow may take before it counts as failed."""


class AuditFile:
    """One path, and what is open of it."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Nothing is opened before the first write. Args: `durable`: sync a regular file after every batch."""
        self.path = path
        self._inherited = inherited_descriptor(path)
        self._durable = durable
        self._descriptor: int | None = None
        self._is_regular = False
        self._torn = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append all lines; on return they are with the system, and on the disk where that was asked for.

        Without lines the file is only opened.
        Raises: OSError; some of the lines may be there then, the last of them in part: it is ended by the next append.
        """
        descriptor = self._current()
        if not lines:
            return
        if self._torn:
            lines = [b"\n", *lines]
        try:
            for piece in [b"".join(lines)] if self._is_regular else (piece for piece, _ in pieces(lines)):
                self._write(descriptor, piece)
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
        if self._descriptor is not None and (self._inherited is not None or not self._was_moved(self._descriptor)):
            return self._descriptor
        self.close()
        if self._inherited is not None:
            self._descriptor = os.dup(self._inherited)
            self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            return self._descriptor
        # Non-blocking: a pipe without a reader is an error at once, and not a wait without end.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        self._descriptor = os.open(self.path, flags, 0o600)
        self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        return self._descriptor

    def _was_moved(self, descriptor: int) -> bool:
        try:
            named = os.stat(self.path)
        except OSError:
            return True
        held = os.fstat(descriptor)
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)

    def _write(self, descriptor: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if not self._is_regular:
                _await_room(descriptor)  # an inherited pipe blocks, and its flags are not ours to change
            try:
                written = _send(descriptor, view)
            except BlockingIOError:
                _await_room(descriptor)
                continue
            self._torn = True  # until all of it is there
            view = view[written:]


def inherited_descriptor(path: Path) -> int | None:
    """Return the descriptor that the path names, such as 1 for /dev/stdout or a link to it; None if it names a file.

    Images often have a log file that is such a link.
    """
    for _ in range(_MAX_LINKS):
        if str(path) in _STANDARD:
            return _STANDARD[str(path)]
        match = _INHERITED.fullmatch(str(path))
        if match is not None and match["process"] in (None, "self", str(os.getpid())):
            return int(match["number"])
        try:
            path = path.parent / os.readlink(path)
        except OSError:
            return None
    return None


def check_inherited(path: Path) -> None:
    """Raises: OSError if the path names a descriptor that this process did not inherit, or cannot write to.

    A descriptor of ours may have its number: a socket, for example. Those are closed on exec, unlike inherited ones.
    """
    descriptor = inherited_descriptor(path)
    if descriptor is None:
        return
    try:
        writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        is_ours = bool(fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)
    except OSError:
        writes, is_ours = False, False
    if not writes or is_ours:
        raise OSError(
            errno.EBADF,
            f"GATEWAY_AUDIT_FILE: {path} is closed or cannot be written to in this process; start the gateway with "
            f"descriptor {descriptor} open for writing, or name a file",
        )


def _send(descriptor: int, view: memoryview) -> int:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return os.write(descriptor, view)
    with socket.socket(fileno=os.dup(descriptor)) as stream:
        return stream.send(view, socket.MSG_DONTWAIT)


def _await_room(descriptor: int) -> None:
    """Wait until a piece fits. Raises: OSError if the reader does not read in time."""
    waiter = select.poll()
    waiter.register(descriptor, select.POLLOUT)
    if not waiter.poll(WRITE_WITHIN_S * 1000):
        raise OSError(errno.EAGAIN, "the reader of the audit pipe does not read")
