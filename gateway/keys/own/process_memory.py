"""Keep secrets in this process's memory out of core dumps, and away from other processes of the same user.

On Linux, `PR_SET_DUMPABLE` 0 gives /proc/PID/mem to root and forbids debuggers to attach; other systems get only the
limit on core dumps. The flag belongs to one process and is lost by exec, so every process that reads secrets sets it.
It does not protect swap: encrypt swap or use none. Source: prctl(2).
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def protect() -> None:
    """Forbid core dumps and access to this process's memory. On a system without these limits, do nothing.

    Raises: OSError if the system refuses.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_dumpable(0)


def allow_debuggers() -> None:
    """Allow debuggers to read this process's memory again (`GATEWAY_DUMPABLE`). Core dumps stay forbidden.

    Raises: OSError if the system refuses.
    """
    _set_dumpable(1)


def _set_dumpable(value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_DUMPABLE")
