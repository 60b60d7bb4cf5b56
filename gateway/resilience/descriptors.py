"""Whether this process, or its machine, is at its limit of open files: a limit of our own, not Phoenix's."""

from __future__ import annotations

import errno
import os

SPARE = 8
"""File descriptors that must be free: for probes, the database and the log, besides calls."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})


def lacks_descriptors(needed: int = 1) -> str:
    """Return the errno name if so many descriptors cannot be opened now; empty if they can. It closes them again."""
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(needed))
    except OSError as error:
        return errno.errorcode[error.errno] if error.errno in EXHAUSTED else ""
    finally:
        for one in opened:
            os.close(one)
    return ""
