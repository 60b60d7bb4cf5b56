"""The queue of calls that wait for their start: which one starts next, and which is refused when there are too many.

Outcomes of a wallet go before money, money before reads, and reads before batches. Within each, modest callers
(`recent_use.py`) go first, and the others take turns (deficit round robin over callers, not connections). Of one
caller, the call with the least time left goes first. One start in four is for a modest caller of a lower priority, so
that nobody's flood of money keeps others from reading.

Refused is, of the last priority, the caller with the most calls. A modest one gives its place only to an outcome, an
outcome to nobody. Pure: `admission.py` says how many wait and start.
"""

from __future__ import annotations

import enum
import itertools
from bisect import bisect_left, insort
from collections import deque
from typing import Generic, Protocol, TypeVar

from gateway.front.http2.recent_use import RecentUse

_LOWER_EVERY = 4


class Priority(enum.IntEnum):
    """What goes first when not everything can."""

    OUTCOME = 0
    """What a wallet has done: it must be recorded before it is asked for more."""
    MONEY = 1
    READ = 2
    BATCH = 3


_DROPPED_IN_ORDER = (Priority.BATCH, Priority.READ, Priority.MONEY)


class Entrant(Protocol):
    """A call that wants to start. `deadline_at` is a moment of the monotonic clock."""

    deadline_at: float


T = TypeVar("T", bound=Entrant)


_Entry = tuple[float, int, float, float, T]
"""Deadline, order of arrival, cost, when it entered the queue, call."""


class _Caller(Generic[T]):
    """The queue of one caller in one priority, soonest deadline first.

    Sorted: calls leave at both ends, and to move some thousand pointers takes less than one step in Python.
    """

    __slots__ = ("deficit", "waiting")

    def __init__(self) -> None:
        self.waiting: list[_Entry[T]] = []
        self.deficit = 0.0


class _Class(Generic[T]):
    """The callers that wait in one priority: `first` takes its turns before `turns`."""

    __slots__ = ("callers", "first", "turns")

    def __init__(self) -> None:
        self.callers: dict[str, _Caller[T]] = {}
        self.first: deque[str] = deque()
        self.turns: deque[str] = deque()


class FairQueue(Generic[T]):
    """The calls that wait."""

    def __init__(self) -> None:
        self._classes: tuple[_Class[T], ...] = tuple(_Class() for _ in Priority)
        self._use = RecentUse()
        self._order = itertools.count()
        self._size = 0
        self._pops = 0

    def __len__(self) -> int:
        return self._size

    def push(self, call: T, caller: str, priority: Priority, cost: float, now: float) -> None:
        """Add a call. Args: `cost`: its share of its caller's turns; 1 for a small one."""
        one = self._classes[priority]
        queue = one.callers.get(caller)
        if queue is None:
            queue = one.callers[caller] = _Caller()
            self._line_up(one, caller)
        self._use.add(caller, cost, now)
        insort(queue.waiting, (call.deadline_at, next(self._order), cost, now, call))
        self._size += 1

    def pop(self) -> T:
        """Take out the call whose turn it is. The queue must not be empty."""
        one = self._next_class()
        while True:
            turns = one.first or one.turns
            name = turns[0]
            if turns is one.first and not self._use.is_modest(name):
                one.turns.append(turns.popleft())
                continue
            caller = one.callers[name]
            cost = caller.waiting[0][2]
            if caller.deficit < cost:
                caller.deficit += 1.0
            if caller.deficit < cost:
                turns.popleft()
                self._line_up(one, name)
                continue
            caller.deficit -= cost
            call = caller.waiting.pop(0)[4]
            self._size -= 1
            if not caller.waiting:
                turns.popleft()
                del one.callers[name]
            elif caller.deficit < caller.waiting[0][2]:
                turns.popleft()
                self._line_up(one, name)
            return call

    def _line_up(self, one: _Class[T], name: str) -> None:
        (one.first if self._use.is_modest(name) else one.turns).append(name)

    def _next_class(self) -> _Class[T]:
        self._pops += 1
        waiting = [one for one in self._classes if one.callers]
        if len(waiting) > 1 and self._pops % _LOWER_EVERY == 0:
            return next((one for one in waiting[1:] if one.first), waiting[0])
        return waiting[0]

    def goes_first(self, caller: str, priority: Priority) -> bool:
        """Whether a call of this caller would be the next to start: it is modest, and no other modest one waits."""
        if not self._use.is_modest(caller):
            return False
        return not any(one.first or (one.callers and before < priority) for before, one in enumerate(self._classes))

    def note_start(self, caller: str, cost: float, now: float) -> None:
        """Count a call that starts without waiting."""
        self._use.add(caller, cost, now)

    def is_modest(self, caller: str) -> bool:
        """Whether a caller has had much less lately than another one."""
        return self._use.is_modest(caller)

    def would_drop(self, caller: str, priority: Priority) -> bool:
        """Whether a further call of this caller would be the one to go: nobody waits with less right to it."""
        victim = self._victim(priority)
        if victim is None or victim[0] != priority:
            return victim is None or priority > victim[0]
        return self._claim(priority, caller, 1) > self._claim(*victim)

    def drop(self, priority: Priority = Priority.BATCH) -> T | None:
        """Take out whom it costs least: the last priority, its greediest caller, the call with the most time left.

        Args: `priority`: of the call that takes the place. Returns: None when all that wait are outcomes, or modest
        callers, whose place only an outcome takes.
        """
        victim = self._victim(priority)
        return None if victim is None else self._drop_of(*victim)

    def _victim(self, for_priority: Priority) -> tuple[Priority, str] | None:
        for spares_modest in (True, False) if for_priority is Priority.OUTCOME else (True,):
            for priority in _DROPPED_IN_ORDER:
                callers = self._classes[priority].callers
                greedy = [name for name in callers if not (spares_modest and self._use.is_modest(name))]
                if greedy:
                    return priority, max(greedy, key=lambda name: self._claim(priority, name))
        return None

    def _claim(self, priority: Priority, name: str, further: int = 0) -> tuple[int, float]:
        """Return what orders callers by greed: their waiting calls, then what they have had."""
        queue = self._classes[priority].callers.get(name)
        return (0 if queue is None else len(queue.waiting)) + further, self._use.of(name)

    def _drop_of(self, priority: Priority, name: str) -> T:
        last = self._classes[priority].callers[name].waiting[-1]
        self._use.take_back(name, last[2], last[3])
        return self._take(priority, name, -1)

    def older_than(self, moment: float, now: float) -> list[T]:
        """Take out what entered before this moment. Outcomes wait until their deadline."""
        return [
            self._take(priority, name, place)
            for priority in Priority
            for name, caller in list(self._classes[priority].callers.items())
            for place in reversed(range(len(caller.waiting)))
            if (caller.waiting[place][0] <= now if priority is Priority.OUTCOME else caller.waiting[place][3] < moment)
        ]

    def withdraw(self, call: T) -> bool:
        """Forget a call; False when it does not wait."""
        for priority in Priority:
            for name, caller in self._classes[priority].callers.items():
                for place in range(bisect_left(caller.waiting, (call.deadline_at,)), len(caller.waiting)):
                    entry = caller.waiting[place]
                    if entry[4] is call:
                        self._take(priority, name, place)
                        return True
                    if entry[0] != call.deadline_at:
                        break
        return False

    def _take(self, priority: Priority, name: str, place: int) -> T:
        one = self._classes[priority]
        caller = one.callers[name]
        entry = caller.waiting.pop(place)
        self._size -= 1
        if not caller.waiting:
            del one.callers[name]
            (one.first if name in one.first else one.turns).remove(name)
        return entry[4]
