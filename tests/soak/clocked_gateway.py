"""A gateway whose wall clock a file sets, in seconds ahead of the host's: `python -m tests.soak.clocked_gateway serve`.

libfaketime would set it for the whole process, but `time.sleep` fails under it, which writers of files use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "SOAK_CLOCK_FILE"
_READ_EVERY_S = 0.2


def wall_clock(file: Path, real: Callable[[], float] = time.time) -> Callable[[], float]:
    """Return what takes the place of `time.time`."""
    offset_s, read_at = 0.0, float("-inf")

    def now() -> float:
        nonlocal offset_s, read_at
        if time.monotonic() - read_at > _READ_EVERY_S:
            offset_s, read_at = float(file.read_text()), time.monotonic()
        return real() + offset_s

    return now


def set_clock(file: Path, offset_s: float) -> None:
    """Set the clock of the gateway that reads this file."""
    new = file.with_suffix(".new")
    new.write_text(str(offset_s))
    new.replace(file)


if __name__ == "__main__":
    clock = wall_clock(Path(os.environ[VARIABLE]))
    time.time = clock
    time.time_ns = lambda: round(clock() * 1e9)
    from gateway.cli.entry import main

    main()
