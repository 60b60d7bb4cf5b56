"""libfaketime sets the clock of one process while it runs, and leaves its monotonic clock alone, as the kernel does.

`time.sleep` fails under it. The gateway sleeps so only where it waits for a disk.
"""

from __future__ import annotations

from pathlib import Path

LIBRARY = next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")
MISSING = "needs libfaketime: apt-get install faketime"


def settings(file: Path, *, exact: bool = False) -> dict[str, str]:
    """Return the environment of a process whose clock `set_clock` moves. `exact`: at once, at a price for each look."""
    set_clock(file, 0)
    return {
        "LD_PRELOAD": LIBRARY,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        **({"FAKETIME_NO_CACHE": "1"} if exact else {"FAKETIME_CACHE_DURATION": "1"}),
    }


def set_clock(file: Path, offset_s: float) -> None:
    """Set the clock so many seconds ahead of the host's."""
    new = file.with_suffix(".new")
    new.write_text(f"{offset_s:+.0f}s\n")
    new.replace(file)
