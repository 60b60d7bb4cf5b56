"""Where the time comes from.

Everything that measures or waits takes a `Clock`, so a test can turn the hands itself. Two times exist and are never
mixed: `monotonic` for durations and deadlines (never jumps back), `now` for what is written down or signed.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of both times, in seconds."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment of this process; only differences mean anything."""
        ...

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC; may jump when the host's clock is set."""
        ...


class SystemClock:
    """The clock of the host."""

    __slots__ = ()

    def monotonic(self) -> float:
        """The host's monotonic clock."""
        return time.monotonic()

    def now(self) -> float:
        """The host's wall clock."""
        return time.time()
