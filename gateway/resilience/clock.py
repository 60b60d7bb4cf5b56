"""The source of time.

Code that measures time takes a `Clock`, so that a test can move it by hand. There are two times, which are never mixed:
`monotonic` for durations and deadlines (it never goes back), and `now` for times that are stored or signed.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of both times, in seconds."""

    def monotonic(self) -> float:
        """Return seconds since a fixed moment of this process. Only differences have a meaning."""
        ...

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC. It may jump when the host's clock is set."""
        ...


class SystemClock:
    """The clock of the host."""

    __slots__ = ()

    # A call asks for the time some twenty times.
    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)
