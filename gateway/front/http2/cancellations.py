"""Who cancels more calls than are answered: each costs the loop about as much as a call, and its caller waits for none.

A caller may cancel `AT_ONCE` young calls, `PER_S` more each second, and one more for each answered call: a client that
hedges cancels half of them. Beyond it, `paced_readers.py` reads its connections seldom. Counted by caller, because a
client that is cut off opens another connection. Pure: time is an argument.
"""

from __future__ import annotations

YOUNG_S = 1.0
"""An older call is not counted: a caller that waits so long for its answer cancels few, or has many streams open."""
AT_ONCE, PER_S = 500.0, 100.0


class Cancellations:
    """What each caller may cancel. Holds only those that have cancelled lately."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        """What a caller has left, and when that was; less than none after one too many."""
        self._swept_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nobody has cancelled anything lately."""
        return not self._left

    def note_cancelled(self, caller: str, now: float) -> bool:
        """Count one; return whether it was one too many."""
        if now - self._swept_at > AT_ONCE / PER_S:
            self._swept_at = now
            self._left = {one: state for one, state in self._left.items() if self._at(state, now) < AT_ONCE}
        left = max(-AT_ONCE, self._at(self._left.get(caller, (AT_ONCE, now)), now) - 1)
        self._left[caller] = (left, now)
        return left < 0

    def note_answered(self, caller: str) -> None:
        """A call was answered: let its caller cancel another one."""
        state = self._left.get(caller)
        if state is not None:
            self._left[caller] = (min(AT_ONCE, state[0] + 1), state[1])

    def _at(self, state: tuple[float, float], now: float) -> float:
        left, then = state
        return min(AT_ONCE, left + (now - then) * PER_S)
