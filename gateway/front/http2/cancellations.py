"""Who cancels more calls than are answered: each costs the loop about as much as a call, and its caller waits for none.

A caller may cancel `at_once` young calls, `per_s` more each second, and one more for each answered call: a client that
hedges cancels half of them. Beyond it, `paced_readers.py` reads its connections seldom. Counted by caller, because a
client that is cut off opens another connection. Pure: time is an argument.
"""

from __future__ import annotations

import math

YOUNG_S = 1.0
"""An older call is not counted: a caller that waits so long for its answer cancels few, or has many streams open."""
AT_ONCE, PER_S = 500.0, 100.0


class Cancellations:
    """What each caller may cancel. Holds only those that have cancelled lately."""

    def __init__(self, *, at_once: float = AT_ONCE, per_s: float = PER_S, young_s: float = YOUNG_S) -> None:
        self._at_once, self._per_s, self._young_s = at_once, per_s, young_s
        self._forgiven_after_s = at_once / per_s if per_s else math.inf
        self._left: dict[str, tuple[float, float]] = {}
        """What a caller has left, and when that was; less than none after one too many."""
        self._swept_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nobody has cancelled anything lately."""
        return not self._left

    def note_cancelled(self, caller: str, arrived_at: float, now: float) -> bool:
        """Count a call if it was young; return whether it was one too many."""
        if now - arrived_at >= self._young_s:
            return False
        if now - self._swept_at > self._forgiven_after_s:
            self._swept_at = now
            self._left = {one: state for one, state in self._left.items() if self._at(state, now) < self._at_once}
        left = max(-self._at_once, self._at(self._left.get(caller, (self._at_once, now)), now) - 1)
        self._left[caller] = (left, now)
        return left < 0

    def note_answered(self, caller: str) -> None:
        """A call was answered: let its caller cancel another one."""
        state = self._left.get(caller)
        if state is not None:
            self._left[caller] = (min(self._at_once, state[0] + 1), state[1])

    def _at(self, state: tuple[float, float], now: float) -> float:
        left, then = state
        return min(self._at_once, left + (now - then) * self._per_s)
