"""The list of kill switches in a file of this machine: it works without Redis and survives restarts.

Operators can read the file. The gateway accepts it only if no user but its owner can write it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.core.switches import MAX_BYTES, Switches, SwitchesUnreadable, decode_switches, encode_switches
from gateway.resilience.atomic_file import replace_file
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

NAME = "switches.json"

Stamp = tuple[int, int, int] | None


class SwitchFile:
    """The file. Its methods block, but it is small."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self.path = data_dir / NAME
        self._clock = clock

    def stamp(self) -> Stamp:
        """Return the metadata that changes with the file; None if there is no file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def read(self) -> Switches:
        """Return the list; an empty one if there is no file. Raises: SwitchesUnreadable, OSError."""
        try:
            with self.path.open("rb") as stream:
                status = _taken_back(stream.fileno())
                if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
                    raise SwitchesUnreadable("users other than its owner may change the file; run chmod 644 on it")
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Switches()
        return decode_switches(data, now_ms=round(self._clock.now() * 1000))

    def merge(self, own: Switches) -> Switches:
        """Merge both lists, write the result if needed, and return it. Raises: SwitchesUnreadable, OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # other processes hold it only for one read and one write
            held = self.read()
            merged = own.merged(held)
            if held.merged(merged) is not held:
                replace_file(self.path, encode_switches(merged))
            return merged
        finally:
            os.close(lock)


def _taken_back(descriptor: int) -> os.stat_result:
    """Return the status, after taking back what a group may do with our own file.

    Kubernetes opens a volume's files to the group of `fsGroup` at each mount. What an operator has stopped must not go
    on after a restart because of it.
    """
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and status.st_mode & 0o022 == 0o020:
        os.fchmod(descriptor, status.st_mode & 0o755)
        log().warning(
            "the list of switches was open to a group; only its owner can change it again",
            advice="set fsGroupChangePolicy to OnRootMismatch",
        )
    return os.fstat(descriptor)
