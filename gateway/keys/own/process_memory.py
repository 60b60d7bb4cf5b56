"""Keeps what lies in this process's memory out of core dumps and from other processes of the same user.

`PR_SET_DUMPABLE` 0 makes /proc/PID/mem and the like root's, and forbids attaching a debugger (Linux; elsewhere only the
limit on core dumps holds). It is per process and lost by exec, so every process that reads secrets calls this itself.
Swap is the machine's matter: encrypt it or have none. Source: issue 8, point 4; prctl(2).
"""

from __future__ import annotations

import ctypes
import sys

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def protect() -> None:
    """Forbid core dumps and looking into this process's memory. Where the system has no such switch, nothing is done.

    Raises: OSError when the system has it and refuses.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_dumpable(0)


def allow_debuggers() -> None:
    """Take back that memory cannot be looked into (`GATEWAY_DUMPABLE`); there are still no core dumps.

    Raises: OSError when the system refuses.
    """
    _set_dumpable(1)


def is_dumpable() -> bool:
    """Tell whether other processes of this user may look into this one's memory."""
    return not sys.platform.startswith("linux") or bool(ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))


def _set_dumpable(value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_DUMPABLE")
