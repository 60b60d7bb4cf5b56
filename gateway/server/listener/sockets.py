"""Unix sockets that only their owner can open: mode 0600 in a directory of mode 0700."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SocketRefused(Exception):
    """The socket cannot be private where it is wanted; the text says why and what to do."""


@contextmanager
def private_socket(path: Path) -> Iterator[None]:
    """Bind the socket within; before that its directory is made or checked, after it the socket's mode is set.

    Raises: SocketRefused when others could reach into the directory.
    """
    directory = path.absolute().parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(directory)
    except OSError as error:
        raise SocketRefused(f"its directory cannot be made ({error.strerror})") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SocketRefused("its directory is open to others; make one of mode 0700 for the gateway's user")
    before = os.umask(0o177)  # never open, not even between bind and chmod
    try:
        yield
    finally:
        os.umask(before)
    try:
        os.chmod(path, 0o600)
    except OSError as error:
        raise SocketRefused(f"its mode cannot be set ({error.strerror})") from None
