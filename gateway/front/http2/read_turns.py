"""Which connection reads when: those that bring more than the loop has time for take turns, within a share of each.

Where even that is too little, every connection would be read too late: what is read has waited in its socket for so
long that its caller has left when the answer comes. So under overload, a connection that brings more than is read of it
is parked: not read for seconds, while calls of the others are answered or refused in time. It comes back as soon as
there is time for it, and within `_PARKED_S`, when another one takes its place. What it brings first is old and refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.front.http2.paced_readers import PacedReaders

_AFTER_REFUSAL_S = 0.006
"""A connection whose calls are refused is read so often, or as soon as few calls wait."""
_PARK_EVERY_S = 0.01
"""One connection is parked in this time: then it shows whether the others are read in time."""
_PARKED_S = 30.0
"""All parked connections have come back once in so long. A client that waits less for the answer to a ping opens
another connection."""
_LATE_EVERY = 4
"""One that has come back and has not caught up is read in one turn of so many, even if there is no time for it."""
_LOOK_S = 0.005
"""Between two looks whether a parked connection can come back."""


class ReadTurns:
    """The connections of a process that wait until they are read."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        need_turn: Callable[[], None],
        runs_low: Callable[[], bool],
        share_s: float,
        on_parked: Callable[[], None] = lambda: None,
    ) -> None:
        """Args: `need_turn` asks for a call of `read` in the next turn of the loop; `runs_low` says whether few calls
        wait for their start; `share_s` counts until the first `read`."""
        self._monotonic = monotonic
        self._need_turn = need_turn
        self._runs_low = runs_low
        self._on_parked = on_parked
        self._read_s, self._share_s = 0.0, share_s
        self._is_overloaded = False
        self._waiting: deque[Callable[[], object]] = deque()
        self._refused: deque[tuple[float, Callable[[], object]]] = deque()
        self._late: deque[Callable[[], object]] = deque()
        self._parked: deque[Callable[[], bool]] = deque()
        self._parked_at = self._back_at = 0.0
        self._swaps = False
        """Whether a connection has come back although there was no time: another one has to take its place."""
        self._reads = 0
        self._timer: asyncio.TimerHandle | None = None
        self.paced = PacedReaders()

    @property
    def has_read_enough(self) -> bool:
        """Whether reading has had its share of this turn: who brings refusals or floods waits for the next one."""
        return self._read_s >= self._share_s

    @property
    def has_parked(self) -> bool:
        """Whether a connection is parked."""
        return bool(self._parked)

    def note(self, took_s: float) -> None:
        """Add what a connection took to read."""
        self._read_s += took_s
        if self.has_read_enough:
            self._need_turn()

    def later(self, read_on: Callable[[], object]) -> None:
        """Call `read_on` in a later turn, after those that wait already, once reading has time again."""
        self._waiting.append(read_on)
        self._need_turn()

    def after_refusal(self, read_on: Callable[[], object]) -> None:
        """As `later`, for a connection with a call that was refused lately, and nothing more to read."""
        self._refused.append((self._monotonic() + _AFTER_REFUSAL_S, read_on))
        self._need_turn()

    def catch_up(self, read_on: Callable[[], object]) -> None:
        """As `later`, for a connection that was parked and has not caught up: all others go first."""
        self._late.append(read_on)
        self._need_turn()

    def parks(self, now: float, *, is_late: bool) -> bool:
        """Whether to park a connection with more to read. Args: `is_late`: it was not read in time."""
        if not self._is_overloaded or not (self._waiting or self._refused):
            return False  # one that is read remains
        if not self._swaps and (not is_late or now - self._parked_at < _PARK_EVERY_S):
            return False
        self._swaps = False
        self._parked_at = now
        return True

    def park(self, read_on: Callable[[], bool]) -> None:
        """Call `read_on` when the loop has time for it, within `_PARKED_S`. It returns False when its connection has
        gone."""
        if not self._parked:
            self._back_at = self._parked_at
        self._parked.append(read_on)
        self._on_parked()
        self._need_turn()

    def read(self, now: float, share_s: float, *, is_overloaded: bool) -> None:
        """Let connections read, for `share_s` in all; what the last turn took beyond its share counts in this one, up
        to all of it.
        """
        self._reads += 1
        self._read_s = min(max(0.0, self._read_s - self._share_s), share_s)
        self._share_s = share_s
        self._is_overloaded = is_overloaded
        self._swaps &= is_overloaded
        while not self.has_read_enough:
            if self._refused and (self._refused[0][0] <= now or self._runs_low()):
                self._refused.popleft()[1]()
            elif self._waiting:
                self._waiting.popleft()()
            else:
                break
        if self._late and (not self.has_read_enough or self._reads % _LATE_EVERY == 0):
            self._late.popleft()()
        if self._parked:
            is_alone = not (self._waiting or self._refused or self._late)
            self._let_back(now, has_time=is_alone and self._runs_low() and not self.has_read_enough)
        if self._waiting or self._late:
            self._need_turn()
        elif self._timer is None and (self._refused or self._parked):
            wait_s = max(0.0, self._refused[0][0] - now) if self._refused else _LOOK_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer)

    def _let_back(self, now: float, *, has_time: bool) -> None:
        has_time = has_time or not self._is_overloaded
        if has_time or now - self._back_at > _PARKED_S / len(self._parked):
            self._back_at = now
            while self._parked:
                if self._parked.popleft()():
                    self._swaps = not has_time
                    return

    def stop(self) -> None:
        """Cancel the timers."""
        self.paced.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._need_turn()
