"""Unix sockets that only their owner can open: mode 0600 in a directory of mode 0700."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SocketRefused(Exception):
    """The socket would not be private at this path; the text says why and what to do."""


@contextmanager
def private_socket(path: Path) -> Iterator[None]:
    """Make or check the directory, let the caller bind the socket inside the block, then set the socket's mode.

    Raises: SocketRefused if other users can reach the directory.
    """
    directory = path.absolute().parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(directory)
    except OSError as error:
        raise SocketRefused(f"the directory cannot be made ({error.strerror})") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SocketRefused("other users can reach its directory; use one of mode 0700 owned by the gateway's user")
    before = os.umask(0o177)  # private from the start, also between bind and chmod
    try:
        yield
    finally:
        os.umask(before)
    try:
        os.chmod(path, 0o600)
    except OSError as error:
        raise SocketRefused(f"the mode cannot be set ({error.strerror})") from None
