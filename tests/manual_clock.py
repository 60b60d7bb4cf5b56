"""A clock whose hands the test turns."""


class ManualClock:
    """Does not move until `advance` is called; both times move together."""

    def __init__(self, *, now: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        """Start at a moment that no real clock shows, so a stray real time is noticed."""
        self._now = now
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """The monotonic time set so far."""
        return self._monotonic

    def now(self) -> float:
        """The wall time set so far."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass on both."""
        if seconds < 0:
            raise ValueError("time only moves forward here; use set_wall to move the wall clock alone")
        self._monotonic += seconds
        self._now += seconds

    def set_wall(self, now: float) -> None:
        """Move only the wall clock, as a change of the host's time does."""
        self._now = now
