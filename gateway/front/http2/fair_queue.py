"""The queue of calls that wait for their start: which one starts next, and which is refused when there are too many.

Money goes before reads before batches. Callers take turns (deficit round robin over callers, not connections). Of one
caller, the call with the least time left goes first. Pure: `admission.py` says how many wait and start.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import deque
from typing import Generic, Protocol, TypeVar


class Priority(enum.IntEnum):
    """What goes first when not everything can."""

    MONEY = 0
    READ = 1
    BATCH = 2


class Entrant(Protocol):
    """A call that wants to start. `deadline_at` is a moment of the monotonic clock."""

    deadline_at: float


T = TypeVar("T", bound=Entrant)


_Entry = tuple[float, int, float, float, T]
"""Deadline, order of arrival, cost, when it entered the queue, call."""


class _Caller(Generic[T]):
    """The queue of one caller in one priority, soonest deadline first."""

    __slots__ = ("deficit", "heap")

    def __init__(self) -> None:
        self.heap: list[_Entry[T]] = []
        self.deficit = 0.0


class FairQueue(Generic[T]):
    """The calls that wait."""

    def __init__(self) -> None:
        self._queues: tuple[dict[str, _Caller[T]], ...] = tuple({} for _ in Priority)
        self._turns: tuple[deque[str], ...] = tuple(deque() for _ in Priority)
        self._order = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, call: T, caller: str, priority: Priority, cost: float, now: float) -> None:
        """Add a call. Args: `cost`: its share of its caller's turns; 1 for a small one."""
        queues = self._queues[priority]
        waiting = queues.get(caller)
        if waiting is None:
            waiting = queues[caller] = _Caller()
            self._turns[priority].append(caller)
        heapq.heappush(waiting.heap, (call.deadline_at, next(self._order), cost, now, call))
        self._size += 1

    def pop(self) -> T:
        """Take out the call whose turn it is. The queue must not be empty."""
        priority = min(one for one in Priority if self._queues[one])
        turns, queues = self._turns[priority], self._queues[priority]
        while True:
            name = turns[0]
            caller = queues[name]
            cost = caller.heap[0][2]
            if caller.deficit >= cost:
                caller.deficit -= cost
                _, _, _, _, call = heapq.heappop(caller.heap)
                self._size -= 1
                if not caller.heap:
                    del queues[name]
                    turns.popleft()
                elif caller.deficit < caller.heap[0][2]:
                    turns.rotate(-1)
                return call
            caller.deficit += 1.0
            if caller.deficit < cost:
                turns.rotate(-1)

    def would_drop(self, caller: str, priority: Priority) -> bool:
        """Whether a further call of this caller would be the one to go: nobody waits with less right to it."""
        last = max((one for one in Priority if self._queues[one]), default=Priority.MONEY)
        if last != priority:
            return priority > last
        queues = self._queues[priority]
        own = queues.get(caller)
        mine = len(own.heap) + 1 if own is not None else 1
        return all(len(other.heap) < mine for name, other in queues.items() if name != caller)

    def drop(self) -> T:
        """Take out whom it costs least: the last priority, its greediest caller, the call with the most time left."""
        priority = max(one for one in Priority if self._queues[one])
        name = max(self._queues[priority], key=lambda each: len(self._queues[priority][each].heap))
        return self._take(priority, name, max(self._queues[priority][name].heap))

    def older_than(self, moment: float) -> list[T]:
        """Take out what entered before this moment."""
        return [
            self._take(priority, name, entry)
            for priority in Priority
            for name, caller in list(self._queues[priority].items())
            for entry in list(caller.heap)
            if entry[3] < moment
        ]

    def withdraw(self, call: T) -> bool:
        """Forget a call; False when it does not wait."""
        for priority in Priority:
            for name, caller in self._queues[priority].items():
                for entry in caller.heap:
                    if entry[4] is call:
                        self._take(priority, name, entry)
                        return True
        return False

    def _take(self, priority: Priority, name: str, entry: _Entry[T]) -> T:
        caller = self._queues[priority][name]
        caller.heap.remove(entry)
        heapq.heapify(caller.heap)
        self._size -= 1
        if not caller.heap:
            del self._queues[priority][name]
            self._turns[priority].remove(name)
        return entry[4]
