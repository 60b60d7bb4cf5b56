"""How many retries a failing upstream gets: at most a fifth of the first tries of the last 10 s. Pure.

Without a bound, a Phoenix that answers slowly or with 503 would get up to three times the load that it cannot bear. A
few retries are always allowed, so that a gateway with little traffic retries as usual. `phoenix/retry.py` does not ask
for a request that is sent once more because its key was replaced.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
SHARE = 0.2
"""Retries for each first try."""
ALWAYS = 10
"""Retries in each window that need no first tries."""
_SLICE_S = 0.5


class RetryBudget:
    """The first tries and retries of one surface in the last WINDOW_S."""

    __slots__ = ("_first", "_retries", "_slices")

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()  # begin, first tries, retries
        self._first = self._retries = 0.0

    def note_first_try(self, now: float) -> None:
        """A request is sent for the first time. Args: `now`: monotonic seconds."""
        self._slice(now)[1] += 1
        self._first += 1

    def take_retry(self, now: float) -> bool:
        """Return whether a request may be sent again now; if so, it is counted."""
        current = self._slice(now)
        if self._retries + 1 > max(ALWAYS, SHARE * self._first):
            return False
        current[2] += 1
        self._retries += 1
        return True

    def _slice(self, now: float) -> list[float]:
        """Return the counts of this moment. A slice leaves the window as a whole, when its end does."""
        slices = self._slices
        while slices and slices[0][0] + _SLICE_S <= now - WINDOW_S:
            _, first, retries = slices.popleft()
            self._first -= first
            self._retries -= retries
        if not slices or now >= slices[-1][0] + _SLICE_S:
            slices.append([now, 0.0, 0.0])
        return slices[-1]
