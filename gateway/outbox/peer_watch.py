"""Decide from what a replica sees of the others' beats which of them are dead. Pure.

Only the observer's monotonic clock counts, so no wall clock can bring a wrong verdict. While the database cannot be
read, nobody can beat either: after such a time, the observation starts again.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.outbox.record import Replica

DEAD_AFTER_S = 3.0
"""A replica whose beats stand still for so long is dead."""
BLIND_AFTER_S = 2.0
"""After a longer time between two looks, the beats that were missed say nothing."""


class PeerWatch:
    """What one replica knows of the others."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}
        """Beats by number, and since when they are known."""
        self._looked_at = float("-inf")

    def dead(self, found: Iterable[Replica], *, asked_at: float, answered_at: float) -> list[Replica]:
        """Take what the database answered, and return the dead. Args: monotonic times around the answer."""
        if asked_at - self._looked_at > BLIND_AFTER_S:
            self._seen.clear()
        self._looked_at = answered_at
        seen: dict[int, tuple[int, float]] = {}
        dead: list[Replica] = []
        for one in found:
            beats, since = self._seen.get(one.number, (-1, answered_at))
            if beats != one.beats:
                since = answered_at
            elif asked_at - since >= DEAD_AFTER_S:
                dead.append(one)
            seen[one.number] = (one.beats, since)
        self._seen = seen
        return dead
