"""Who may read a file that holds a secret. The rule is that of libpq, so that one mount suits both.

A file of the process's own user is for that user alone. A file of root may also be readable by a group that the process
belongs to: so Kubernetes mounts secrets with `fsGroup` (root:<group>, 0440). It may also have an access control list,
as systemd gives its credentials. Nobody else may read or change either.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OPEN_TO_OTHERS = 0o007
_GROUP_READS = 0o040
_ACL = "system.posix_acl_access"


def exposure_of(file: int | Path, status: os.stat_result) -> str:
    """Return why others can read or change the file, with the fix; "" if only those who may can.

    Args: `file`: the path or the open file that `status` describes.
    """
    exposed = stat.S_IMODE(status.st_mode) & 0o077
    if not exposed or (status.st_uid == 0 and exposed == _GROUP_READS and _is_ours(file, status.st_gid)):
        return ""
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if exposed & _OPEN_TO_OTHERS:
        return (
            f"can be read or changed by every user ({mode}); run chmod 600 on it, or mount it for the gateway's user "
            "(0400) or group (0440)"
        )
    if status.st_uid == 0:
        return (
            f"can be read or changed by group {status.st_gid} ({mode}); give it to a group of the gateway's process "
            f"with mode 0440, or run chmod 600 on it"
        )
    return f"can be read or changed by its group ({mode}, owner {status.st_uid}); run chmod 600 on it"


def whoami() -> str:
    """Return the user and the groups of this process, for a message about a file that it may not open."""
    groups = ", ".join(str(group) for group in sorted({os.getegid(), *os.getgroups()}))
    return f"the gateway is user {os.geteuid()} with groups {groups}"


def _is_ours(file: int | Path, group: int) -> bool:
    if group == 0 and os.geteuid() == 0:
        return False  # root needs no group to read its own file
    return group == os.getegid() or group in os.getgroups() or _has_acl(file)


def _has_acl(file: int | Path) -> bool:
    """Tell whether root named the readers in an access control list; the mode's group bits are then only its mask."""
    if not hasattr(os, "getxattr"):
        return False  # not Linux
    try:
        os.getxattr(file, _ACL)
    except OSError:
        return False
    return True
