"""The list of what is switched off, as a file of this machine: how it is told without Redis, and kept over restarts.

Readable, so that an operator can look at it, and believed only if nobody but its owner can write it. Source: issue 8,
point 8.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.core.switches import MAX_BYTES, Switches, SwitchesUnreadable, decode_switches, encode_switches
from gateway.resilience.atomic_file import replace_file
from gateway.resilience.clock import Clock

NAME = "switches.json"

Stamp = tuple[int, int, int] | None


class SwitchFile:
    """One file. Blocking; small."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self.path = data_dir / NAME
        self._clock = clock

    def stamp(self) -> Stamp:
        """Return what changes with the file; None where there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def read(self) -> Switches:
        """Return the list; an empty one where there is no file. Raises: SwitchesUnreadable, OSError."""
        try:
            with self.path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
                    raise SwitchesUnreadable("others than its owner may change the file")
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Switches()
        return decode_switches(data, now_ms=round(self._clock.now() * 1000))

    def merge(self, own: Switches) -> Switches:
        """Return what both know together, and see to it that the file says so. Raises: SwitchesUnreadable, OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for a read and a write by others like us
            held = self.read()
            together = own.merged(held)
            if held.merged(together) is not held:
                replace_file(self.path, encode_switches(together))
            return together
        finally:
            os.close(lock)
