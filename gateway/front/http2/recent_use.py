"""What each caller has had lately: whom overload hits first, and who is left alone. Pure: time is an argument.

A caller is modest while it has had less than three quarters of what the greediest one has. Calls count from when they
begin to wait, and are forgotten later.
"""

from __future__ import annotations

import math

MEMORY_S = 1.0
"""After so long, a call counts e times less."""
_REBASE_AT = 4.0
_GONE = 0.1
"""A caller is forgotten below so many calls."""


class RecentUse:
    """Calls of each caller, weighted by how long ago they were.

    A weight grows with the time of its call instead of shrinking afterwards: so nothing has to be updated but what is
    added, and callers compare as if everything had shrunk.
    """

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._base_at = 0.0
        self._greediest = ""

    def of(self, caller: str) -> float:
        """Return what this caller has had, in units that only compare with other callers'."""
        return self._had.get(caller, 0.0)

    def is_modest(self, caller: str) -> bool:
        """Whether this caller has had less than three quarters of what the greediest one has."""
        return self.of(caller) < 0.75 * self.of(self._greediest)

    def add(self, caller: str, cost: float, now: float) -> None:
        """Count a call that begins to wait."""
        if now - self._base_at > _REBASE_AT * MEMORY_S:
            self._rebase(now)
        had = self.of(caller) + cost * self._weight(now)
        self._had[caller] = had
        if had >= self.of(self._greediest):
            self._greediest = caller

    def take_back(self, caller: str, cost: float, added_at: float) -> None:
        """Forget a call that was not served. Who was greediest stays it until another one has had as much."""
        self._had[caller] = max(0.0, self.of(caller) - cost * self._weight(added_at))

    def _weight(self, at: float) -> float:
        return math.exp((at - self._base_at) / MEMORY_S)

    def _rebase(self, now: float) -> None:
        shrunk = math.exp(-min(700.0, (now - self._base_at) / MEMORY_S))
        self._had = {caller: had * shrunk for caller, had in self._had.items() if had * shrunk > _GONE}
        self._base_at = now
        self._greediest = max(self._had, key=self.of, default="")
